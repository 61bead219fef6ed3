// What the data hold, and the table of strategies.

const table = rowsOf(data.table);
const verdicts = grouped(rowsOf(data.verdicts).map((row) => ({ ...row, key: `${row.setting} ${row.strategy}` })), "key");
const runs = rowsOf(data.runs).map((row, at) => ({ ...row, at }));
const STRATEGIES = unique([...table.map((row) => row.strategy), ...runs.map((row) => row.method)]).sort();
const view = { setting: 0 };
/** The rows of the setting that is shown, best strategy first, as in its table. */
function here(rows) {
  const rank = new Map(table.filter((row) => row.setting === view.setting).map((row, at) => [row.strategy, at]));
  return rows.filter((row) => row.setting === view.setting).sort((a, b) => rank.get(a.strategy) - rank.get(b.strategy));
}
const costsKnown = Object.keys(data.costs).filter((cost) => table.some((row) => known(row[cost])));
const MARKS = { transfers: "▲ ", "no evidence": "○ ", harms: "▼ " };

const verdictsOf = (row) => verdicts.get(`${row.setting} ${row.strategy}`) || [];
const isScratch = (verdict) => verdict.twin === "scratch" || verdict.twin.startsWith("scratch ");
const judged = (verdict) => (verdict && verdict.verdict ? MARKS[verdict.verdict] + verdict.verdict : DASH);
const verdictText = (row, scratch) => judged(verdictsOf(row).find((verdict) => isScratch(verdict) === scratch));

function frontText(row) {
  const best = costsKnown.filter((cost) => row[`front_${cost}`]);
  if (!best.length) return "";
  return best.length === costsKnown.length ? "● all" : `● ${best.map((cost) => COSTS[cost].name).join(", ")}`;
}

const number = (name, key, text, more = {}) => ({ name, number: true, value: (row) => row[key], text: (row) => text(row[key]), ...more });
const signed = (value) => score(value, true);

/** The columns of the table of which some row has a value; the last ones on demand. */
function strategyColumns(all) {
  const difference = (row) =>
    row.strategy === data.baseline ? "baseline" : known(row.difference) ? withBounds(row.difference, row.difference_low, row.difference_high, true) : "no common seed";
  const columns = [
    { name: data.row, text: (row) => row.strategy },
    number("seeds", "seeds", whole),
    { name: "rule", text: (row) => row.rule },
    number(`${metric.label} [95 %]`, "mean", score, { text: (row) => withBounds(row.mean, row.low, row.high) }),
    number("sd", "sd", score),
    number("bootstrap [95 %]", "bootstrap_low", score, { text: (row) => bounds(row.bootstrap_low, row.bootstrap_high) || DASH }),
    number(`difference to ${data.baseline} [95 %]`, "difference", signed, { text: difference }),
    number("p, Holm", "p_holm", probability),
    number("seeds to settle", "seeds_to_settle", whole, {
      value: (row) => unbounded(row.seeds_to_settle),
      text: (row) => (row.seeds_to_settle === "inf" ? "> 10,000" : whole(row.seeds_to_settle)),
    }),
    ...(verdicts.size ? [["against scratch", true], ["against the source", false]] : [])
      .map(([name, scratch]) => ({ name, class: "phrase", text: (row) => verdictText(row, scratch) })),
    number("trainable", "trainable_parameters", large), number("seconds", "seconds", COSTS.seconds.text), number("FLOPs", "flops", large),
    { name: "on the front of", class: "phrase", text: frontText },
  ];
  if (all) columns.push(
    number("paired seeds", "paired_seeds", whole), number("p", "p", probability),
    number("Wilcoxon p", "wilcoxon_p", probability), number("Wilcoxon p, Holm", "wilcoxon_holm", probability),
    ...["trainable_parameters", "samples", "peak_memory_bytes"].map((cost) => number(COSTS[cost].name, cost, COSTS[cost].text)),
  );
  // what no row has, such as a bootstrap interval of four seeds, is no column
  return columns.filter((column) => !column.number || table.some((row) => known(column.value(row))));
}

function strategiesSection(place) {
  const state = { setting: "all", text: "", all: false };
  const shown = el("div", { class: "tables" });
  const made = [];
  const some = choice("Setting", [["all", "all settings"], ...settingOptions()], (value) => { state.setting = value; keep(); });
  const more = el("input", { type: "checkbox", onchange: () => { state.all = more.checked; build(); } });

  function build() {
    made.splice(0, made.length, ...data.settings.map((name, at) =>
      sortable({ caption: name, columns: strategyColumns(state.all), rows: table.filter((row) => row.setting === at) })));
    shown.replaceChildren(...made.map((one) => one.node));
    keep();
  }

  function keep() {
    const has = finder(state.text);
    made.forEach((one, at) => {
      one.node.hidden = state.setting !== "all" && Number(state.setting) !== at;
      one.filter((row) => has(`${row.strategy} ${row.method} ${verdictText(row, true)} ${verdictText(row, false)} ${frontText(row)}`.toLowerCase()));
    });
  }

  place.append(el("div", { class: "controls" }, search("Find", (text) => { state.text = text; keep(); }),
    data.settings.length > 1 ? some.node : null, el("label", { class: "control" }, more, "all columns")), shown, verdictsInFull());
  build();
}

const settingOptions = () => data.settings.map((name, at) => [String(at), name]);

/** Each verdict with its numbers, or why there is none; built when it is opened. */
function verdictsInFull() {
  const rows = rowsOf(data.verdicts);
  if (!rows.length) return null;
  const node = el("details", {
    ontoggle: () => node.open && !node.built && (node.built = true) && node.append(plainTable(
      "Verdicts", ["strategy", "setting", "twin", "verdict", `difference [interval]`, "confidence", "common seeds", "why there is none"],
      rows.map((row) => [row.strategy, data.settings[row.setting], row.twin, judged(row), withBounds(row.difference, row.low, row.high, true),
        known(row.confidence) ? `${fixed(100 * row.confidence, 1)} %` : DASH, whole(row.paired_seeds), row.reason]))),
  }, el("summary", {}, "Verdicts in full"));
  return node;
}
