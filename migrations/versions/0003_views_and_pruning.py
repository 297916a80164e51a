"""Views for analysts; what pruning and the check of files have to note.

Revision ID: 0003
Revises: 0002

The columns are additions, null or 0 in the rows that are there. The views read only, so taking
them away loses nothing.
"""

from __future__ import annotations

from string import Template

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None

Time = sa.DateTime(timezone=True)

_STATE = """CASE
    WHEN EXISTS (SELECT 1 FROM deliveries d WHERE d.study_key = s.study_key AND d.state = 'dead')
      OR EXISTS (SELECT 1 FROM work w WHERE w.study_key = s.study_key AND w.state = 'dead')
      THEN 'failed'
    WHEN EXISTS (SELECT 1 FROM holds h WHERE h.study_key = s.study_key AND h.released_at IS NULL)
      OR EXISTS (SELECT 1 FROM deliveries d WHERE d.study_key = s.study_key AND d.state = 'held')
      THEN 'held'
    WHEN EXISTS (SELECT 1 FROM work w WHERE w.study_key = s.study_key
                 AND w.step = 'aggregate' AND w.want > w.have) THEN 'receiving'
    WHEN EXISTS (SELECT 1 FROM work w WHERE w.study_key = s.study_key
                 AND w.step = 'build' AND w.want > w.have AND w.state = 'waiting') THEN 'settled'
    WHEN EXISTS (SELECT 1 FROM work w WHERE w.study_key = s.study_key
                 AND w.step = 'build' AND w.want > w.have) THEN 'building'
    WHEN EXISTS (SELECT 1 FROM deliveries d WHERE d.study_key = s.study_key
                 AND d.state IN ('waiting', 'running', 'retrying')) THEN 'delivering'
    WHEN EXISTS (SELECT 1 FROM deliveries d WHERE d.study_key = s.study_key
                 AND d.state = 'delivered') THEN 'delivered'
    WHEN EXISTS (SELECT 1 FROM deliveries d WHERE d.study_key = s.study_key
                 AND d.state = 'filtered') THEN 'filtered'
    ELSE 'staged' END"""

_SENDER = """(SELECT a.calling_ae_title
    FROM association_studies x JOIN associations a ON a.association_id = x.association_id
    WHERE x.study_key = s.study_key ORDER BY a.started_at, a.association_id LIMIT 1)"""

_VIEWS = {
    "v_studies": """
SELECT s.study_instance_uid, $state AS state, s.channel, $sender AS calling_ae_title,
    s.patient_id, s.issuer_of_patient_id, s.patient_name, s.patient_birth_date, s.patient_sex,
    s.accession_number, s.study_date, s.study_time, s.study_description, s.modalities,
    s.referring_physician_name, s.number_of_series, s.number_of_instances, s.number_of_pruned,
    s.first_received_at, s.last_received_at, s.generation,
    (SELECT g.settled_at FROM generations g
      WHERE g.study_key = s.study_key AND g.generation = s.generation) AS settled_at,
    (SELECT max(d.delivered_at) FROM deliveries d WHERE d.study_key = s.study_key) AS delivered_at
FROM studies s""",
    "v_series": """
SELECT s.study_instance_uid, e.series_instance_uid, s.patient_id, s.accession_number,
    e.modality, e.series_number, e.series_description, e.series_date, e.series_time,
    e.body_part_examined, e.laterality, e.manufacturer, e.manufacturer_model_name,
    e.station_name, e.number_of_instances,
    (SELECT $total FROM instances i WHERE i.series_key = e.series_key) AS bytes
FROM series e JOIN studies s ON s.study_key = e.study_key""",
    "v_deliveries": """
SELECT d.destination, s.study_instance_uid, s.patient_id, s.accession_number, s.modalities,
    d.state, d.want AS wanted_generation, d.have AS delivered_generation, d.delivered_at,
    (SELECT count(*) FROM attempts t WHERE t.delivery_key = d.delivery_key) AS tries,
    d.attempts AS failed_tries, d.first_failed_at, d.due_at AS next_try_at, d.last_status,
    d.last_error, d.warning, d.server_id, d.server_version,
    (SELECT count(*) FROM instance_deliveries x
      WHERE x.delivery_key = d.delivery_key AND x.delivered) AS images_taken,
    (SELECT count(*) FROM instance_deliveries x
      WHERE x.delivery_key = d.delivery_key AND NOT x.delivered) AS images_refused
FROM deliveries d JOIN studies s ON s.study_key = d.study_key""",
    "v_attempts": """
SELECT t.started_at, t.ended_at, $took AS seconds, d.destination, s.study_instance_uid,
    s.modalities, t.generation, t.number, t.outcome, t.status, t.detail
FROM attempts t
JOIN deliveries d ON d.delivery_key = t.delivery_key
JOIN studies s ON s.study_key = d.study_key""",
    "v_turnaround": """
SELECT y.study_instance_uid, y.generation, y.destination, y.channel, y.modalities,
    y.number_of_instances, y.first_received_at, y.last_received_at, y.settled_at, y.built_at,
    y.delivered_at, $to_settle AS seconds_to_settle, $to_build AS seconds_to_build,
    $to_deliver AS seconds_to_deliver, $in_all AS seconds_in_all
FROM (
  SELECT s.study_instance_uid, g.generation, d.destination, s.channel, s.modalities,
    g.number_of_instances, s.first_received_at, g.settled_at,
    CASE WHEN g.generation = s.generation AND g.revision = s.revision THEN s.last_received_at
      ELSE (SELECT max(i.received_at) FROM instances i
            WHERE i.study_key = g.study_key AND i.received_at <= g.settled_at)
      END AS last_received_at,
    (SELECT min(r.built_at) FROM resources r
      WHERE r.study_key = g.study_key AND r.generation = g.generation) AS built_at,
    (SELECT min(t.ended_at) FROM attempts t
      WHERE t.delivery_key = d.delivery_key AND t.generation = g.generation
        AND t.outcome = 'delivered') AS delivered_at
  FROM generations g
  JOIN studies s ON s.study_key = g.study_key
  JOIN deliveries d ON d.study_key = g.study_key
) y""",
    "v_failures": """
SELECT 'delivery' AS kind, d.destination AS place, s.study_instance_uid, d.state,
    d.first_failed_at AS since, d.attempts AS tries, d.last_status AS code,
    d.last_error AS detail, d.due_at AS next_try_at
FROM deliveries d JOIN studies s ON s.study_key = d.study_key
WHERE d.state IN ('dead', 'retrying')
UNION ALL
SELECT 'step', w.step, s.study_instance_uid, w.state, w.first_failed_at, w.attempts, '',
    w.last_error, w.due_at
FROM work w JOIN studies s ON s.study_key = w.study_key
WHERE w.state IN ('dead', 'retrying')
UNION ALL
SELECT 'hold', h.destination, s.study_instance_uid, 'held', h.held_at, 0, h.reason, h.detail, NULL
FROM holds h JOIN studies s ON s.study_key = h.study_key
WHERE h.released_at IS NULL
UNION ALL
SELECT 'quarantine', '', q.study_instance_uid, 'quarantined', q.received_at, 0, q.reason,
    q.detail, NULL
FROM quarantine q
UNION ALL
SELECT 'file', '', s.study_instance_uid, 'damaged', i.damaged_at, 0, 'file_damaged', i.file, NULL
FROM instances i JOIN studies s ON s.study_key = i.study_key
WHERE i.damaged_at IS NOT NULL""",
    "v_daily": """
SELECT $day AS day, a.channel, a.calling_ae_title, i.modality,
    count(DISTINCT i.study_key) AS studies, count(*) AS images, $total AS bytes
FROM instances i JOIN associations a ON a.association_id = i.association_id
GROUP BY $day, a.channel, a.calling_ae_title, i.modality""",
}

_DOSE = """
SELECT s.study_instance_uid, s.patient_id, s.patient_birth_date, s.patient_sex,
    s.study_description, s.modalities, c.source_uid AS report_uid,
    $resource ->> 'effectiveDateTime' AS started,
    $resource -> 'device' ->> 'display' AS device,
    coalesce($part -> 'code' ->> 'text', $part -> 'code' -> 'coding' -> 0 ->> 'display') AS name,
    $part -> 'code' -> 'coding' -> 0 ->> 'system' AS code_system,
    $part -> 'code' -> 'coding' -> 0 ->> 'code' AS code,
    $value AS value, $part -> 'valueQuantity' ->> 'unit' AS unit
FROM companions c
JOIN resources r ON r.resource_key = c.resource_key
JOIN studies s ON s.study_key = r.study_key
$parts
WHERE c.kind = 'dose' AND $part -> 'valueQuantity' IS NOT NULL
  AND c.resource_key = (
    SELECT max(k.resource_key) FROM companions k JOIN resources n ON n.resource_key = k.resource_key
    WHERE n.study_key = r.study_key AND k.kind = 'dose')"""

_SQLITE = {
    "total": "sum(i.data_set_bytes)",
    "day": "substr(i.received_at, 1, 10)",
    "resource": "c.resource",
    "part": "p.value",
    "value": "CAST(p.value -> 'valueQuantity' ->> 'value' AS REAL)",
    "parts": "JOIN json_each(c.resource, '$.component') p",
}
_POSTGRESQL = {
    # A sum of bigint would be numeric, which readers do not get as a whole number.
    "total": "CAST(sum(i.data_set_bytes) AS bigint)",
    "day": "to_char(i.received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    "resource": "CAST(c.resource AS jsonb)",
    "part": "p.value",
    "value": "CAST(p.value -> 'valueQuantity' ->> 'value' AS double precision)",
    "parts": "CROSS JOIN LATERAL jsonb_array_elements(CAST(c.resource AS jsonb) -> 'component') p",
}
_SPANS = {
    "took": ("t.started_at", "t.ended_at"),
    "to_settle": ("y.last_received_at", "y.settled_at"),
    "to_build": ("y.settled_at", "y.built_at"),
    "to_deliver": ("y.built_at", "y.delivered_at"),
    "in_all": ("y.last_received_at", "y.delivered_at"),
}


def upgrade() -> None:
    for column, what in _NEW_COLUMNS:
        op.add_column("instances", sa.Column(column, Time, comment=what))
    op.add_column(
        "studies",
        sa.Column(
            "number_of_pruned",
            sa.Integer,
            nullable=False,
            server_default="0",
            comment="instances whose files were pruned",
        ),
    )
    op.create_table(
        "removals",
        sa.Column("file", sa.Text, nullable=False, comment="path below the file store"),
        sa.Column("asked_at", Time, nullable=False, comment="when its instance was pruned"),
        sa.PrimaryKeyConstraint("file", name="pk_removals"),
        comment="One row per file of a pruned instance that is still to be removed.",
    )
    _make_views()


def downgrade() -> None:
    for name in (*_VIEWS, "v_dose"):
        op.execute(f"DROP VIEW {name}")
    op.drop_table("removals")
    op.drop_column("studies", "number_of_pruned")
    for column, _ in reversed(_NEW_COLUMNS):
        op.drop_column("instances", column)


_NEW_COLUMNS = (
    ("pruned_at", "when its file was pruned; null = the file is there"),
    ("restored_at", "when its file came again, after it was pruned or damaged"),
    ("damaged_at", "since when its file is missing or not what was received"),
)


def _make_views() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    words = {"state": _STATE, "sender": _SENDER, **(_SQLITE if is_sqlite else _POSTGRESQL)}
    for name, (begin, end) in _SPANS.items():
        words[name] = (
            f"round((julianday({end}) - julianday({begin})) * 86400.0, 3)"
            if is_sqlite
            else f"CAST(round(extract(epoch FROM {end} - {begin}), 3) AS double precision)"
        )
    for name, query in (*_VIEWS.items(), ("v_dose", _DOSE)):
        text = Template(query).substitute(words).replace(":", "\\:")
        op.execute(sa.text(f"CREATE VIEW {name} AS{text}"))
