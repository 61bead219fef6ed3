// The page, section by section.

const scheme = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.style.colorScheme || "light dark") === "dark"
  || (["", "light dark"].includes(document.documentElement.style.colorScheme) && scheme.matches);

function plotsSection(place) {
  const settings = choice("Setting", settingOptions(), (value) => { view.setting = Number(value); redrawAll(); });
  if (data.settings.length > 1) place.append(el("div", { class: "controls setting" }, settings.node));
  else place.append(el("p", { class: "quiet" }, data.settings[0]));
  const grid = el("div", { class: "plots" });
  place.append(grid);
  scorePlots(grid);
  coursePlots(grid);
  widerPlots(grid);
  measuredPlots(grid);
}

const byId = (id) => document.getElementById(id);
byId("theme").addEventListener("change", (event) => {
  document.documentElement.style.colorScheme = event.target.value;
  redrawAll();
});
scheme.addEventListener("change", redrawAll);
// names are cut where the page is narrow
matchMedia("(max-width: 600px)").addEventListener("change", redrawAll);

strategiesSection(byId("strategies"));
plotsSection(byId("plots"));
overallSection(byId("overall"));
rankPlot(byId("overall"));
rulesSection(byId("rules"));
foretoldSection(byId("foretold"));
runsSection(byId("runs"));
leftOutSection(byId("left-out"));
redrawAll();
document.documentElement.dataset.ready = "true";
