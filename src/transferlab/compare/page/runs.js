// The runs: a list, and of each its config and curves; and what was left out.

/** What the config of a run says under a key that not all share. */
function varied(run) {
  return Object.entries(data.configs.varying).map(([key, { values, of }]) => [key, of[run.at] < 0 ? undefined : values[of[run.at]]]);
}

const valueText = (value) => (value === undefined ? DASH : value === null ? "null" : String(value));

function runsSection(place) {
  const state = { text: "", setting: "all", texts: null };
  const oracle = runs.some((run) => known(run.oracle));
  const columns = [
    { name: "run", text: (run) => run.run_id, cell: (run) => el("button", { type: "button", class: "open", onclick: () => openRun(run.at), "aria-haspopup": "dialog" }, run.run_id) },
    { name: data.row, text: (run) => run.strategy },
    ...(data.settings.length > 1 ? [{ name: "setting", class: "phrase", text: (run) => data.settings[run.setting] }] : []),
    { name: "seed", number: true, value: (run) => run.seed, text: (run) => String(run.seed) },
    number(metric.label, "score", score),
    ...(runs.some((run) => known(run.val)) ? [number("validation", "val", score)] : []),
    ...(oracle ? [number("oracle", "oracle", score)] : []),
    ...["trainable_parameters", "seconds", "flops"].map((cost) => number(COSTS[cost].name, cost, COSTS[cost].text)),
  ];
  const ordered = [...runs].sort((a, b) => a.setting - b.setting || STRATEGIES.indexOf(a.strategy) - STRATEGIES.indexOf(b.strategy) || order({ value: (run) => run.seed })(a, b));
  const list = sortable({ caption: "Runs", columns, rows: ordered, hideCaption: true });
  const textOf = (run) => `${run.run_id} ${run.strategy} ${data.settings[run.setting]} seed=${run.seed} ${varied(run).map(([key, value]) => `${key}=${valueText(value)}`).join(" ")}`.toLowerCase();

  function keep() {
    const has = finder(state.text);
    if (state.text && !state.texts) state.texts = runs.map(textOf);
    list.filter((run) => (state.setting === "all" || run.setting === Number(state.setting)) && (!state.text || has(state.texts[run.at])));
  }

  const some = choice("Setting", [["all", "all settings"], ...settingOptions()], (value) => { state.setting = value; keep(); });
  place.append(el("p", { class: "quiet" }, "A click on a run opens its config and its curves. Words are found in names and in config values, such as optimizer.lr=0.01. " + kept()),
    el("div", { class: "controls" }, search("Find", (text) => { state.text = text; keep(); }), data.settings.length > 1 ? some.node : null), list.node);
}

function openRun(at) {
  const run = runs[at];
  const dialog = document.getElementById("run");
  const close = el("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const curves = curvesOf(run);
  dialog.replaceChildren(
    el("div", { class: "top" }, el("h2", { id: "run-title" }, `${run.strategy}, seed ${run.seed}`), close),
    el("p", { class: "quiet" }, `${data.settings[run.setting]}. Run ${run.run_id}, ${run.where}`),
    plainTable("Scores and costs", ["selected", ...facts(run).map(([name]) => name)], [[score(run.score), ...facts(run).map(([, text]) => text)]]),
    curves.node, configOf(run));
  dialog.showModal();
  curves.redraw();
}

function facts(run) {
  const scores = [["validation", run.val], ["last epoch", run.last], ["oracle", run.oracle]].filter(([, value]) => known(value)).map(([name, value]) => [name, score(value)]);
  return [...scores, ...Object.keys(COSTS).filter((cost) => known(run[cost])).map((cost) => [COSTS[cost].name, COSTS[cost].text(run[cost])])];
}

function configOf(run) {
  const differing = varied(run).filter(([, value]) => value !== undefined).map(([key, value]) => [key, valueText(value)]);
  const all = () => [...differing, ...Object.entries(data.configs.shared).map(([key, value]) => [key, valueText(value)])].sort(([a], [b]) => (a < b ? -1 : 1));
  const node = el("details", { ontoggle: () => node.open && node.children.length < 2 && node.append(plainTable("Whole config", ["key", "value"], all(), false)) }, el("summary", {}, "Whole config"));
  const first = differing.length ? plainTable("Not the same in all runs", ["key", "value"], differing, false) : el("p", { class: "quiet" }, "Its config is that of all other runs.");
  return el("div", { class: "config" }, el("h3", {}, "Config"), first, node);
}

/** What was left of the curves, where there was no room for all. */
function kept() {
  const { thinned } = data.curves;
  return thinned ? `With so many runs, at most ${thinned.points} points of ${thinned.keys} curves of each are kept.` : "";
}

function curvesOf(run) {
  const { keys, epochs, layouts, of, start } = data.curves;
  const found = new Map();
  let from = start[run.at];
  for (const [key, grid] of layouts[of[run.at]]) {
    found.set(keys[key], { epochs: epochs[grid], start: from });
    from += epochs[grid].length;
  }
  const state = {};
  const controls = chooser("Value", same(judgedFirst([...found.keys()])), state, "key");
  state.plot = plot({
    id: "run", title: "Curves", level: "h3", controls, about: kept(),
    draw: () => {
      const curve = found.get(state.key);
      if (!curve) return "The record has no history of its epochs.";
      const share = isShare(state.key);
      const values = Array.from(floats(curve.start, curve.epochs.length), (value) => scale(value, share));
      return { traces: [lineOf(run.strategy, curve.epochs, values, { showlegend: false, hovertemplate: "epoch %{x}: %{y:.4~g}<extra></extra>" })],
        layout: { height: 300, xaxis: { title: titled("epoch") }, yaxis: { title: titled(share ? `${state.key} %` : state.key) } },
        head: ["epoch", state.key], rows: curve.epochs.map((epoch, at) => [String(epoch), short(values[at])]) };
    },
  });
  return state.plot;
}

function leftOutSection(place) {
  if (!data.left_out.length) return place.append(el("p", { class: "quiet" }, "Nothing: every record that was found is compared."));
  const columns = ["record", "what it is", "reason"].map((name, at) => ({ name, class: at && "words", text: (row) => row[at] }));
  const list = sortable({ caption: "Records that are not compared", columns, rows: data.left_out, hideCaption: true });
  const texts = data.left_out.map((row) => row.join(" ").toLowerCase());
  const find = (text) => { const has = finder(text); list.filter((row) => has(texts[data.left_out.indexOf(row)])); };
  place.append(data.left_out.length > 10 ? el("div", { class: "controls" }, search("Find", find)) : "", list.node);
}
