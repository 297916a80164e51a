// What the pages do beyond links and forms: renew themselves, and listen to the keyboard.
// Everything works without it.

const LONGEST_PAUSE_SECONDS = 60;
const LONGEST_ANSWER_SECONDS = 8;
const LONGEST_KEPT_SECONDS = 60;
const SOON_SECONDS = 1;

// On a narrow screen the links of the frame stand beside each other: show the one that is open.
function showWhereWeAre() {
  document.querySelector("nav a[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
}
showWhereWeAre();
addEventListener("resize", showWhereWeAre);

const state = document.querySelector("[data-live-state]");

function say(isLive, text) {
  if (!state) return;
  const dot = document.createElement("span");
  dot.className = isLive ? "live-dot" : "live-dot off";
  state.replaceChildren(dot, text);
}

const stale = document.querySelector("[data-stale]");

// Above the content, since that is what it speaks of. Said once, not at each try.
function warn(text, link) {
  if (!stale) return;
  const place = stale.querySelector("[data-stale-text]");
  if (!stale.hidden && stale.dataset.said === text) return;
  stale.dataset.said = text;
  place.replaceChildren(text);
  if (link) place.append(" ", link);
  stale.hidden = false;
}

function unwarn() {
  if (stale) stale.hidden = true;
}

function timeOf(moment) {
  return moment.toLocaleTimeString("en-GB", { timeZoneName: "short" });
}

function linkToLogin() {
  const link = document.createElement("a");
  link.href = `/login?next=${encodeURIComponent(location.pathname)}`;
  link.textContent = "Log in";
  return link;
}

function isChanged(field) {
  if (field.matches("[type=checkbox], [type=radio]")) return field.checked !== field.defaultChecked;
  if (!field.matches("select")) return field.value !== field.defaultValue;
  const options = [...field.options];
  const first = Math.max(options.findIndex((one) => one.defaultSelected), 0);
  return !field.multiple && field.selectedIndex !== first;
}

function isSelected(region) {
  const selection = getSelection();
  return selection.rangeCount > 0 && !selection.isCollapsed && selection.getRangeAt(0).intersectsNode(region);
}

// Somebody who has marked rows, writes, copies or stands on a button must not lose that.
function isInUse(region) {
  if (region.querySelector("dialog[open]") || isSelected(region)) return true;
  if ([...region.querySelectorAll("input, select, textarea")].some(isChanged)) return true;
  return region.contains(document.activeElement) && document.activeElement.matches("input, select, textarea, button, summary");
}

function whereFocusIs(region) {
  const focused = document.activeElement;
  if (!region.contains(focused)) return null;
  const href = focused.getAttribute("href");
  return focused.id ? `#${CSS.escape(focused.id)}` : href ? `a[href="${CSS.escape(href)}"]` : null;
}

// What is opened and closed, and how far tables were moved, as somebody has left it.
function arrangement(region) {
  const focus = whereFocusIs(region);
  const details = [...region.querySelectorAll("details[id]")].map((one) => [one.id, one.open]);
  const moved = [...region.querySelectorAll(".scroll")].map((one) => [one.scrollLeft, one.scrollTop]);
  return () => {
    for (const [id, open] of details) region.querySelector(`#${CSS.escape(id)}`)?.toggleAttribute("open", open);
    region.querySelectorAll(".scroll").forEach((one, index) => one.scrollTo(...(moved[index] ?? [0, 0])));
    if (focus) region.querySelector(focus)?.focus({ preventScroll: true });
  };
}

class SessionEnded extends Error {}

async function newest() {
  const answer = await fetch(location.href, {
    headers: { "X-Fragment": "live" }, cache: "no-store", redirect: "error",
    signal: AbortSignal.timeout(LONGEST_ANSWER_SECONDS * 1000),
  });
  if (answer.status === 401) throw new SessionEnded();
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.text();
}

// Returns whether what stands there is the newest.
async function renew(region) {
  const text = await newest();
  if (text === region.lastText) return true;
  if (isInUse(region)) return false;
  region.lastText = text;
  const arrange = arrangement(region);
  const made = new DOMParser().parseFromString(text, "text/html");
  region.replaceChildren(...made.body.childNodes);
  arrange();
  return true;
}

function keepLive(region) {
  const seconds = Number(region.dataset.live);
  // What is being asked for at this moment is there soon.
  const usual = () => (region.querySelector("[data-soon]") ? Math.min(SOON_SECONDS, seconds) : seconds);
  let pause = usual();
  let shownAt = new Date();

  function isNewest() {
    shownAt = new Date();
    unwarn();
    say(true, `live, every ${seconds} s`);
  }

  function isKept() {
    say(false, `kept as it is while you use it, from ${timeOf(shownAt)}`);
    if (new Date() - shownAt < LONGEST_KEPT_SECONDS * 1000) unwarn();
    else warn(`Not renewed while you use this page. What stands here is from ${timeOf(shownAt)}.`);
  }

  function failed(error) {
    pause = Math.min(pause * 2, LONGEST_PAUSE_SECONDS);
    say(false, `not live, next try in ${pause} s`);
    const from = `What stands here is from ${timeOf(shownAt)}.`;
    if (error instanceof SessionEnded) warn(`Your session has ended. ${from}`, linkToLogin());
    else warn(`Not live: intu-fhir does not answer. ${from}`);
  }

  async function next() {
    if (document.visibilityState === "visible") {
      try {
        const isDone = await renew(region);
        pause = usual();
        if (isDone) isNewest();
        else isKept();
      } catch (error) {
        failed(error);
      }
    }
    setTimeout(next, pause * 1000);
  }
  say(true, `live, every ${seconds} s`);
  setTimeout(next, usual() * 1000);
}

for (const region of document.querySelectorAll("[data-live]")) keepLive(region);

const THEMES = ["auto", "light", "dark"];
document.querySelector("[data-theme-button]")?.addEventListener("click", () => {
  const root = document.documentElement;
  const theme = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
  root.dataset.theme = theme;
  document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=lax`;
});

const shortcuts = document.getElementById("shortcuts");
document.querySelector("[data-help-button]")?.addEventListener("click", () => shortcuts.showModal());

function moveRow(by) {
  const rows = [...document.querySelectorAll("tr[data-row]")];
  if (!rows.length) return;
  const now = rows.indexOf(document.activeElement?.closest("tr[data-row]"));
  const next = rows[Math.max(0, Math.min(rows.length - 1, now + by))];
  next.querySelector("a, button")?.focus();
}

// Long ago: a page that was opened just now has seen no g yet.
let afterG = -Infinity;
document.addEventListener("keydown", (event) => {
  if (event.target.matches("textarea") && event.key === "Enter" && event.ctrlKey) {
    event.target.form?.requestSubmit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  if (event.timeStamp - afterG < 1500) {
    afterG = -Infinity;
    const link = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
    if (link) { event.preventDefault(); link.click(); }
    return;
  }
  if (event.key === "g") afterG = event.timeStamp;
  else if (event.key === "?") shortcuts.showModal();
  else if (event.key === "j") moveRow(1);
  else if (event.key === "k") moveRow(-1);
  else if (event.key === "/") {
    const field = document.querySelector("[data-search]");
    if (field) { event.preventDefault(); field.focus(); field.select?.(); }
  }
});

document.addEventListener("change", (event) => {
  const all = document.querySelector("[data-all]");
  const boxes = [...document.querySelectorAll(`input[name="${CSS.escape(all?.dataset.all ?? "")}"]`)];
  if (event.target === all) for (const box of boxes) box.checked = all.checked;
  else if (boxes.includes(event.target)) all.checked = boxes.every((box) => box.checked);
});

// Browsers lend the clipboard to pages by TLS and of this machine only: elsewhere the text is marked.
async function isCopied(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    return true;
  } catch {
    getSelection().selectAllChildren(button.parentElement.querySelector("[data-copied]"));
    return false;
  }
}

document.addEventListener("click", async (event) => {
  const insert = event.target.closest("[data-insert]");
  if (insert) {
    const field = document.querySelector("textarea[data-statement]");
    field.setRangeText(insert.dataset.insert, field.selectionStart, field.selectionEnd, "end");
    field.focus();
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) copy.textContent = (await isCopied(copy)) ? "copied" : "press Ctrl+C";
});
