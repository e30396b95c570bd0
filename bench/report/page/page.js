"use strict";
(() => {
  const one = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const controls = one("controls");

  /* Each level has a table of its own. Its rows keep the question that they were written under. */
  const levels = all(".level").map((place) => ({
    place,
    table: place.querySelector("table"),
    groups: all("tbody", place).map((body) => ({ body, lines: all("tr.line", body) })),
  }));
  for (const level of levels) {
    level.flat = document.createElement("tbody");
    level.flat.setAttribute("role", "rowgroup");
    level.flat.className = "flat";
    level.table.append(level.flat);
  }
  const falling = new Set(["full", "same-steps", "score"]);
  let order = { key: "full", down: true };

  const value = (line, key) => {
    if (key === "strategy" || key === "verdict" || key === "score" || key === "cost") return line.dataset[key];
    const cell = line.querySelector(`[data-${CSS.escape(key)}]`);
    return cell ? cell.getAttribute(`data-${key}`) : "";
  };
  const words = new Set(["strategy", "verdict"]);
  const compare = (a, b) => {
    const [x, y] = [value(a, order.key), value(b, order.key)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const found = words.has(order.key) ? x.localeCompare(y) : x - y;
    return order.down ? -found : found;
  };
  const setting = (id) => (one(id) ? one(id).value : "");

  const show = () => {
    if (!controls) return;
    const text = setting("find").trim().toLowerCase();
    const verdict = setting("verdict");
    const anchor = setting("anchor");
    const grouped = one("grouped").checked;
    const chosen = levels[Number(setting("level") || 0)];
    for (const level of levels) level.place.hidden = level !== chosen;
    let seen = 0;
    let count = 0;
    for (const { body, lines } of chosen.groups) {
      const folded = body.querySelector(".question button").getAttribute("aria-expanded") === "false";
      let here = 0;
      for (const line of lines) {
        const named = `${line.dataset.strategy} ${line.querySelector(".of").textContent}`.toLowerCase();
        const fits = named.includes(text) && (!verdict || line.dataset.verdict === verdict);
        line.hidden = !fits || (grouped && folded);
        count += 1;
        here += fits;
      }
      seen += here;
      body.hidden = !grouped || here === 0;
      if (grouped) body.append(...lines.sort(compare));
    }
    chosen.flat.hidden = grouped;
    if (!grouped) chosen.flat.append(...chosen.groups.flatMap((group) => group.lines).sort(compare));
    for (const cell of all(".also")) cell.hidden = !cell.classList.contains(`a-${anchor}`);
    for (const note of all(".meaning")) note.hidden = !note.classList.contains(`a-${anchor}`);
    for (const head of all("[data-key]", chosen.table)) {
      if (head.dataset.key === order.key) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    one("count").textContent = `${seen} of ${count} rows`;
  };

  const sort = (key, turn) => {
    const again = turn && order.key === key;
    order = { key, down: again ? !order.down : !words.has(key) && key !== "cost" };
    if (one("sort").value !== key) one("sort").value = key;
    show();
  };

  if (controls) {
    controls.addEventListener("submit", (event) => event.preventDefault());
    controls.addEventListener("input", (event) => {
      if (event.target.id === "sort") sort(event.target.value, false);
      else if (event.target.id === "anchor" && event.target.value) sort(event.target.value, false);
      else show();
    });
    controls.addEventListener("reset", () => setTimeout(() => sort("full", false)));
    for (const head of all("[data-key]")) head.querySelector("button").addEventListener("click", () => sort(head.dataset.key, true));
    for (const button of all(".question button"))
      button.addEventListener("click", () => {
        button.setAttribute("aria-expanded", String(button.getAttribute("aria-expanded") === "false"));
        show();
      });
    show();
  }

  for (const button of all("[data-copy]"))
    button.addEventListener("click", async () => {
      const text = one(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(text);
        button.textContent = "Selected";
      }
    });

  /* What is folded away is printed too. */
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details.section:not([open])");
    for (const part of folded) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of folded) part.open = false;
  });
})();
