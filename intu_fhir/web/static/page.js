// What the pages do beyond links and forms: renew themselves, and listen to the keyboard.
// Everything works without it.

const LONGEST_PAUSE_SECONDS = 60;

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

// Somebody who has marked rows or writes must not lose that.
function isInUse(region) {
  if (region.querySelector("input[type=checkbox]:checked, dialog[open]")) return true;
  return region.contains(document.activeElement) && document.activeElement.matches("input, select, textarea");
}

function whereFocusIs(region) {
  const focused = document.activeElement;
  if (!region.contains(focused)) return null;
  const href = focused.getAttribute("href");
  return focused.id ? `#${CSS.escape(focused.id)}` : href ? `a[href="${CSS.escape(href)}"]` : null;
}

async function renew(region) {
  const answer = await fetch(location.href, { headers: { "X-Fragment": "live" }, cache: "no-store", redirect: "error" });
  if (!answer.ok) throw new Error(String(answer.status));
  const text = await answer.text();
  if (text === region.lastText || isInUse(region)) return;
  region.lastText = text;
  const focus = whereFocusIs(region);
  const opened = [...region.querySelectorAll("details[open][id]")].map((one) => one.id);
  const made = new DOMParser().parseFromString(text, "text/html");
  region.replaceChildren(...made.body.childNodes);
  for (const id of opened) region.querySelector(`#${CSS.escape(id)}`)?.setAttribute("open", "");
  if (focus) region.querySelector(focus)?.focus({ preventScroll: true });
}

function keepLive(region) {
  const seconds = Number(region.dataset.live);
  let pause = seconds;
  async function next() {
    if (document.visibilityState === "visible") {
      try {
        await renew(region);
        pause = seconds;
        say(true, `live, every ${seconds} s`);
      } catch {
        pause = Math.min(pause * 2, LONGEST_PAUSE_SECONDS);
        say(false, `not live, next try in ${pause} s`);
      }
    }
    setTimeout(next, pause * 1000);
  }
  say(true, `live, every ${seconds} s`);
  setTimeout(next, seconds * 1000);
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
  const all = event.target.closest("[data-all]");
  if (!all) return;
  for (const box of document.querySelectorAll(`input[name="${CSS.escape(all.dataset.all)}"]`)) box.checked = all.checked;
});

document.addEventListener("click", async (event) => {
  const insert = event.target.closest("[data-insert]");
  if (insert) {
    const field = document.querySelector("textarea[data-statement]");
    field.setRangeText(insert.dataset.insert, field.selectionStart, field.selectionEnd, "end");
    field.focus();
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    await navigator.clipboard?.writeText(copy.dataset.copy);
    copy.textContent = "copied";
  }
});
