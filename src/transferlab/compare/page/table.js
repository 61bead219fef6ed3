// Tables: sorted by a click on a header, filtered from outside, a page at a time.

const PAGE = 50;

/**
 * A sortable table in its own scroll box.
 * Columns: name, text(row), and where they differ from it value(row) to sort by, cell(row) to show; number: right-aligned.
 */
function sortable({ caption, columns, rows, hideCaption = false }) {
  const state = { column: null, down: false, page: 0, keep: () => true };
  const body = el("tbody");
  const heads = columns.map((column, at) =>
    el("th", { scope: "col", "aria-sort": "none", class: column.number ? "number" : column.class },
      el("button", { type: "button", onclick: () => sort(at) }, column.name)));
  const pager = pages((page) => { state.page = page; draw(); });
  const title = el("caption", {}, hideCaption ? el("span", { class: "unseen" }, caption) : caption);
  const table = el("table", {}, title, el("thead", {}, el("tr", {}, ...heads)), body);
  const node = el("div", { class: "tabled" },
    el("div", { class: "box", role: "region", "aria-label": caption, tabindex: "0" }, table), pager.node);

  function sort(at) {
    state.down = state.column === at && !state.down;
    state.column = at;
    state.page = 0;
    heads.forEach((head, other) => head.setAttribute("aria-sort", other !== at ? "none" : state.down ? "descending" : "ascending"));
    draw();
  }

  function draw() {
    const kept = rows.filter(state.keep);
    if (state.column !== null) kept.sort(order(columns[state.column], state.down));
    const from = state.page * PAGE;
    body.replaceChildren(...kept.slice(from, from + PAGE).map((row) => line(columns, row)));
    pager.show(state.page, kept.length, rows.length);
  }

  draw();
  return { node, filter: (keep) => { state.keep = keep; state.page = 0; draw(); } };
}

function line(columns, row) {
  return el("tr", {}, ...columns.map((column, at) =>
    el(at ? "td" : "th", { scope: at ? null : "row", class: column.number ? "number" : column.class },
      column.cell ? column.cell(row) : column.text(row))));
}

/** Numbers by size, words by their order, what is missing last in both directions. */
function order(column, down) {
  const value = column.value || column.text;
  const sign = down ? -1 : 1;
  return (left, right) => {
    const [a, b] = [value(left), value(right)];
    if (!known(a) || !known(b)) return known(b) - known(a);
    if (typeof a === "number" && typeof b === "number") return sign * (a === b ? 0 : a < b ? -1 : 1);
    return sign * String(a).localeCompare(String(b), "en", { numeric: true });
  };
}

function pages(turn) {
  const said = el("span", { role: "status" });
  let page = 0;
  const before = el("button", { type: "button", onclick: () => turn(page - 1) }, "Previous");
  const after = el("button", { type: "button", onclick: () => turn(page + 1) }, "Next");
  const node = el("div", { class: "pager" }, before, said, after);
  function show(at, kept, all) {
    page = at;
    const from = at * PAGE;
    node.hidden = all <= PAGE && kept === all;
    before.hidden = after.hidden = kept <= PAGE;
    before.disabled = at === 0;
    after.disabled = from + PAGE >= kept;
    const range = kept > PAGE ? `${whole(from + 1)} to ${whole(Math.min(from + PAGE, kept))} of ` : "";
    said.textContent = `${range}${whole(kept)}${kept < all ? ` found among ${whole(all)}` : ""}`;
  }
  return { node, show };
}

/** A plain table of texts; its first column names the rows. */
function plainTable(caption, head, rows, numeric = true) {
  const columns = head.map((name, at) => ({ name, text: (row) => row[at], number: numeric && at > 0 && isNumeric(rows, at) }));
  const heads = columns.map((column) => el("th", { scope: "col", class: column.number && "number" }, column.name));
  const table = el("table", {}, el("caption", { class: "quiet" }, caption), el("thead", {}, el("tr", {}, ...heads)),
    el("tbody", {}, ...rows.map((row) => line(columns, row))));
  return el("div", { class: "box", role: "region", "aria-label": caption, tabindex: "0" }, table);
}

const isNumeric = (rows, at) => rows.every((row) => /^[−+<∞–\d]/.test(row[at] || DASH));

// controls --------------------------------------------------------------------------------------------------------

/** A labelled select; options are [value, text]. */
function choice(name, options, changed) {
  const select = el("select", { onchange: () => changed(select.value) },
    ...options.map(([value, text]) => el("option", { value }, text)));
  return { node: el("label", { class: "control" }, name, select), select };
}

/** A labelled search box. */
function search(name, changed) {
  const input = el("input", { type: "search", autocomplete: "off", spellcheck: "false", oninput: () => changed(input.value) });
  return el("label", { class: "control" }, name, input);
}

/** Whether a text has all words that are looked for. */
function finder(wanted) {
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  return (text) => words.every((word) => text.includes(word));
}
