// Tables of the class `sortable` sort by a click on a header; above those of the class
// `filterable` words choose rows; a|b is one word or the other, and the address PAGE#runs=a|b asks
// for it. Cells of notebooks give their tags as classes tag_....
addEventListener("DOMContentLoaded", () => {
  const missing = /^[-–—]?$/;
  const scale = { k: 1e3, M: 1e6, G: 1e9 };
  // The number that a text starts with: "49.4 % (47 to 51)", "−3.2", "161,088", "2e-4", "380 kB".
  const number = (text) => {
    const of = /^[≤≥<>~≈±(]*([-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+−]?\d+)?)(?:\s?([kMG])(?=B))?/.exec(text);
    return of ? of[1].replace(/,/g, "").replace(/−/g, "-") * (scale[of[2]] || 1) : NaN;
  };

  const sort = (table, head) => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const one of head.parentNode.cells) one.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => [row.cells[head.cellIndex].textContent.trim(), row]);
    const there = keyed.filter(([text]) => !missing.test(text));
    const numbers = there.every(([text]) => !isNaN(number(text)));
    there.sort(([a], [b]) => (up ? 1 : -1) *
      (numbers ? number(a) - number(b) : a.localeCompare(b, "en", { numeric: true })));
    const empty = keyed.filter(([text]) => missing.test(text)); // last, whichever way
    body.append(...[...there, ...empty].map(([, row]) => row));
  };

  const every = (kind) => document.querySelectorAll(
    `.${kind} table, table.${kind}, .tag_${kind} table`);
  for (const table of every("sortable")) {
    for (const head of table.tHead?.rows[table.tHead.rows.length - 1].cells || []) {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      button.onclick = () => sort(table, head);
      head.append(button);
    }
  }
  for (const table of every("filterable")) {
    const rows = [...table.tBodies[0].rows].map((row) => [row.textContent.toLowerCase(), row]);
    const field = Object.assign(document.createElement("input"),
      { type: "search", placeholder: "words, or \"a phrase\"" });
    const count = document.createElement("output");
    const label = document.createElement("label");
    label.className = "filter";
    label.append("Show rows with ", field, count);
    field.oninput = () => {
      const words = (field.value.toLowerCase().match(/"[^"]+"?|[^\s"]+/g) || [])
        .map((word) => word.replace(/"/g, ""));
      for (const [text, row] of rows) row.hidden = !words.every(
        (word) => word.split("|").filter(Boolean).some((one) => text.includes(one)));
      count.textContent = `${rows.filter(([, row]) => !row.hidden).length} of ${rows.length}`;
    };
    const follow = () => {
      if (location.hash.startsWith("#runs=") && table.classList.contains("all-runs")) {
        field.value = decodeURIComponent(location.hash.slice(6));
        label.scrollIntoView();
      }
      field.oninput();
    };
    (table.closest(".pst-scrollable-table-container") || table).before(label);
    addEventListener("hashchange", follow);
    follow();
  }
});
