"""What an association may carry: the acceptor's side of PS3.8 9.3.3 and PS3.7 annex D."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import TypeAlias

from intu_fhir.files.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from intu_fhir.receive.associate import (
    APPLICATION_CONTEXT,
    MAX_CONTEXTS,
    AnsweredContext,
    AssociateRequest,
    ProposedContext,
    Role,
    UserAnswer,
    UserIdentity,
    UserInformation,
    encode_associate_accept,
)
from intu_fhir.receive.sop_classes import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    STORAGE_CLASSES,
    STORAGE_COMMITMENT,
    TRANSFER_SYNTAXES,
    UNCOMPRESSED_SYNTAXES,
    VERIFICATION,
)

ACCEPTED, USER_REJECTION = 0, 1
ABSTRACT_SYNTAX_NOT_SUPPORTED, TRANSFER_SYNTAXES_NOT_SUPPORTED = 3, 4

# PS3.4 B.3.1.4.1: a level 2 (full) SCP, which keeps every bit (signature level 3), coerces nothing.
STORAGE_EXTENDED_NEGOTIATION = bytes((2, 0, 3, 0, 0, 0))

_WINDOW = (1, 1)
SMALLEST_PDU = 128
"""With less a peer makes an answer many times as long as it is; no program asks for so little."""
NOT_STORAGE = frozenset({VERIFICATION, STORAGE_COMMITMENT})

NAME, NAME_AND_PASSCODE = 1, 2
_IDENTITY_WITHOUT_TOKEN = frozenset({NAME, NAME_AND_PASSCODE})


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may associate with a channel, and for what.

    Args:
        calling_ae_titles: who may call; None means everybody.
        private_sop_classes: taken besides the standard's storage classes.
        max_contexts: most presentation contexts of a request.
        users: who has to be named in the request, and each one's passcode, where there is one;
            None means that nobody has to be.
        storage_commitment: whether commitment is served.
        archives: by calling AE title, those that we ask for commitment, with the AE titles of
            ours that they answer to. They may always come, but only to answer.
    """

    ae_title: str
    calling_ae_titles: frozenset[str] | None
    private_sop_classes: frozenset[str]
    max_pdu_bytes: int
    max_contexts: int = MAX_CONTEXTS
    users: Mapping[bytes, bytes | None] | None = field(default=None, repr=False)
    storage_commitment: bool = False
    archives: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context.

    Args:
        takes_requests: the peer may ask for storage commitment on it.
        takes_results: the peer may answer what we asked it for.
    """

    context_id: int
    sop_class_uid: str
    transfer_syntax_uid: str
    takes_requests: bool = False
    takes_results: bool = False

    @property
    def is_verification(self) -> bool:
        """Say whether C-ECHO is what this context serves; else it is C-STORE."""
        return self.sop_class_uid == VERIFICATION

    @property
    def is_commitment(self) -> bool:
        """Say whether storage commitment is what this context serves."""
        return self.sop_class_uid == STORAGE_COMMITMENT


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 table 9-21) and, for the log, its cause."""

    result: int
    source: int
    reason: int
    cause: str
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Agreement:
    """An accepted association.

    Args:
        contexts: the accepted ones by id.
        reply: the A-ASSOCIATE-AC.
        max_pdu_bytes: longest P-DATA-TF the peer takes; 0 means any.
    """

    contexts: dict[int, Context]
    reply: bytes
    max_pdu_bytes: int


Decision: TypeAlias = Agreement | Rejection

PROTOCOL_VERSION_NOT_SUPPORTED = Rejection(1, 2, 2, "protocol_version")
PDUS_TOO_SHORT = Rejection(1, 1, 1, "maximum_length_below_128")
APPLICATION_CONTEXT_NOT_SUPPORTED = Rejection(1, 1, 2, "application_context")
CALLED_AE_NOT_RECOGNIZED = Rejection(1, 1, 7, "called_ae_title")
CALLING_AE_NOT_RECOGNIZED = Rejection(1, 1, 3, "calling_ae_title")
USER_IDENTITY_REFUSED = Rejection(1, 2, 1, "user_identity")
TOO_MANY_CONTEXTS = Rejection(1, 3, 2, "too_many_contexts", "max_contexts")
TEMPORARY_CONGESTION = Rejection(2, 3, 1, "stopping")
LOCAL_LIMIT_EXCEEDED = Rejection(2, 3, 2, "too_many_associations")


def negotiate(request: AssociateRequest, policy: Policy) -> Decision:
    """Decide on a request."""
    return _rejection(request, policy) or _agreement(request, policy)


def _rejection(request: AssociateRequest, policy: Policy) -> Rejection | None:
    if not request.protocol_version & 1:
        return PROTOCOL_VERSION_NOT_SUPPORTED
    if request.application_context != APPLICATION_CONTEXT:
        return APPLICATION_CONTEXT_NOT_SUPPORTED
    if 0 < request.user.max_pdu_bytes < SMALLEST_PDU:
        return PDUS_TOO_SHORT
    if not _is_archive(request, policy) and (refused := _not_a_sender(request, policy)):
        return refused
    return TOO_MANY_CONTEXTS if len(request.contexts) > policy.max_contexts else None


def _not_a_sender(request: AssociateRequest, policy: Policy) -> Rejection | None:
    """Say why the peer may not use the services of this channel, or None where it may."""
    if request.called_ae_title != policy.ae_title:
        return CALLED_AE_NOT_RECOGNIZED
    if not _may_call(request.calling_ae_title, policy.calling_ae_titles):
        return CALLING_AE_NOT_RECOGNIZED
    if policy.users is not None and not _is_known(request.user.user_identity, policy.users):
        return USER_IDENTITY_REFUSED
    return None


def _is_archive(request: AssociateRequest, policy: Policy) -> bool:
    """Say whether the peer may answer what we asked it for."""
    ours = policy.archives.get(request.calling_ae_title, frozenset())
    return request.called_ae_title in ours or bool(
        ours and request.called_ae_title == policy.ae_title
    )


def _is_known(identity: UserIdentity | None, users: Mapping[bytes, bytes | None]) -> bool:
    """Judge a name, or name and passcode; other kinds nobody here can judge.

    The comparison takes the same time wherever a passcode is wrong.
    """
    if identity is None or identity.kind not in _IDENTITY_WITHOUT_TOKEN:
        return False
    if identity.name not in users:
        return False
    wanted = users[identity.name]
    if wanted is None:
        return True
    return identity.kind == NAME_AND_PASSCODE and compare_digest(identity.passcode, wanted)


def _may_call(title: str, allowed: frozenset[str] | None) -> bool:
    """Control characters and backslashes are in no AE title (PS3.5 6.2), listed or not."""
    printable = title != "" and all(" " <= c <= "~" and c != "\\" for c in title)
    return printable and (allowed is None or title in allowed)


@dataclass(frozen=True, slots=True)
class _Peer:
    """What a peer may do.

    Args:
        sends: it may use the services of the channel.
        answers: it may answer what we asked it for.
        proposed: its roles by SOP class, where it has said any.
    """

    sends: bool
    answers: bool
    proposed: Mapping[str, Role]

    @classmethod
    def of(cls, request: AssociateRequest, policy: Policy) -> _Peer:
        proposed = {role.sop_class_uid: role for role in request.user.roles}
        sends = _not_a_sender(request, policy) is None
        return cls(sends, _is_archive(request, policy), proposed)

    def granted(self, uid: str, policy: Policy) -> Role:
        """Return the roles that it has with a SOP class (PS3.7 D.3.3.4).

        It is SCU where it wants to be, and SCP only where it answers what we asked. Whoever says
        nothing is SCU; an archive that says nothing may answer as well.
        """
        proposed = self.proposed.get(uid) or Role(uid, scu=True, scp=True)
        is_commitment = uid == STORAGE_COMMITMENT
        asks = self.sends and policy.storage_commitment if is_commitment else True
        answers = is_commitment and self.answers
        return Role(uid, scu=proposed.scu and asks, scp=proposed.scp and answers)


def _agreement(request: AssociateRequest, policy: Policy) -> Agreement:
    peer = _Peer.of(request, policy)
    answers = tuple(_answer(context, policy, peer) for context in request.contexts)
    contexts = {
        answer.context_id: _accepted(peer.granted(proposed.abstract_syntax, policy), answer)
        for proposed, answer in zip(request.contexts, answers, strict=True)
        if answer.result == ACCEPTED
    }
    roles = tuple(
        peer.granted(uid, policy)
        for uid in peer.proposed
        if any(context.sop_class_uid == uid for context in contexts.values())
    )
    user = _user_answer(request.user, contexts.values(), roles, policy)
    reply = encode_associate_accept(request, answers, user)
    return Agreement(contexts, reply, request.user.max_pdu_bytes)


def _accepted(granted: Role, answer: AnsweredContext) -> Context:
    is_commitment = granted.sop_class_uid == STORAGE_COMMITMENT
    return Context(
        answer.context_id,
        granted.sop_class_uid,
        answer.transfer_syntax,
        takes_requests=is_commitment and granted.scu,
        takes_results=is_commitment and granted.scp,
    )


def _answer(context: ProposedContext, policy: Policy, peer: _Peer) -> AnsweredContext:
    """Take the first transfer syntax in the peer's order: mostly that of its own files.

    A context on which the peer would have no role left is refused: nothing could come on it.
    """
    if not _is_served(context.abstract_syntax, policy, peer):
        return _refused(context, ABSTRACT_SYNTAX_NOT_SUPPORTED)
    granted = peer.granted(context.abstract_syntax, policy)
    if not granted.scu and not granted.scp:
        return _refused(context, USER_REJECTION)
    syntaxes = TRANSFER_SYNTAXES
    if context.abstract_syntax == STORAGE_COMMITMENT:
        syntaxes = UNCOMPRESSED_SYNTAXES
    for syntax in context.transfer_syntaxes:
        if syntax in syntaxes:
            return AnsweredContext(context.context_id, ACCEPTED, syntax)
    return _refused(context, TRANSFER_SYNTAXES_NOT_SUPPORTED)


def _is_served(uid: str, policy: Policy, peer: _Peer) -> bool:
    if uid == STORAGE_COMMITMENT:
        return peer.answers or (peer.sends and policy.storage_commitment)
    if uid == VERIFICATION:
        return True
    return peer.sends and (uid in STORAGE_CLASSES or uid in policy.private_sop_classes)


def _refused(context: ProposedContext, result: int) -> AnsweredContext:
    # The transfer syntax of a refused context means nothing, but has to be there (PS3.8 9.3.3.2).
    return AnsweredContext(context.context_id, result, IMPLICIT_VR_LITTLE_ENDIAN)


def _user_answer(
    user: UserInformation, contexts: Iterable[Context], roles: tuple[Role, ...], policy: Policy
) -> UserAnswer:
    served = {context.sop_class_uid for context in contexts}
    return UserAnswer(
        max_pdu_bytes=policy.max_pdu_bytes,
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version_name=IMPLEMENTATION_VERSION_NAME,
        asynchronous_operations=_WINDOW if user.asynchronous_operations is not None else None,
        roles=roles,
        extended=_extended(user.extended, served),
        user_identity_accepted=_identity_accepted(user),
    )


def _extended(proposed: Iterable[str], served: set[str]) -> tuple[tuple[str, bytes], ...]:
    storage = dict.fromkeys(uid for uid in proposed if uid in served and uid not in NOT_STORAGE)
    return tuple((uid, STORAGE_EXTENDED_NEGOTIATION) for uid in storage)


def _identity_accepted(user: UserInformation) -> bool:
    """Say yes to names and passcodes; tokens would need an answer that we cannot make.

    Without an answer the requester knows that its token was not looked at (PS3.7 D.3.3.7).
    """
    identity = user.user_identity
    known = identity is not None and identity.kind in _IDENTITY_WITHOUT_TOKEN
    return user.positive_response_requested and known
