// The page's own script: filter, baseline, theme, hover, deep links, raw samples, and the hand-over to uPlot.
// Sorting is the library's above. Text goes into the page as text only; nothing is ever fetched.
(() => {
  "use strict";
  const root = document.documentElement;
  const all = (query, from = document) => [...from.querySelectorAll(query)];
  const byId = (id) => document.getElementById(id);
  root.classList.add("scripted");

  // Theme: auto, light, dark. The choice is kept where the browser lets a file keep anything.
  const THEMES = ["auto", "light", "dark"];
  const themed = [];
  const setTheme = (name) => {
    if (name === "auto") delete root.dataset.theme;
    else root.dataset.theme = name;
    byId("theme").querySelector("span").textContent = name;
    themed.forEach((redraw) => redraw());
  };
  const kept = (name) => {
    try {
      if (name) localStorage.setItem("twinbench-theme", name);
      return localStorage.getItem("twinbench-theme");
    } catch {
      return null;
    }
  };
  byId("theme").addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme || "auto") + 1) % THEMES.length];
    kept(next);
    setTheme(next);
  });
  setTheme(THEMES.includes(kept()) ? kept() : "auto");

  // Hover and keyboard focus tell the whole reason or the exact figures; without scripts `title` does.
  const tip = byId("tip");
  const showTip = (cell) => {
    tip.textContent = cell.dataset.tip;
    tip.hidden = false;
    const place = cell.getBoundingClientRect();
    const top = place.bottom + 6 + tip.offsetHeight > innerHeight ? place.top - tip.offsetHeight - 6 : place.bottom + 6;
    tip.style.left = `${Math.max(8, Math.min(place.left, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(8, top)}px`;
  };
  const hideTip = () => (tip.hidden = true);
  all("td[title]").forEach((cell) => {
    const { title } = cell;
    if (!title) return;
    cell.dataset.tip = title;
    cell.removeAttribute("title");
    const link = cell.querySelector("a");
    if (link) link.setAttribute("aria-description", title);
  });
  const tipped = (event) => event.target.closest?.("td[data-tip]");
  document.addEventListener("mouseover", (event) => (tipped(event) ? showTip(tipped(event)) : hideTip()));
  document.addEventListener("focusin", (event) => (tipped(event) ? showTip(tipped(event)) : hideTip()));
  document.addEventListener("scroll", hideTip, { passive: true });
  document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
  const untip = (hide) =>
    all("td[data-tip]").forEach((cell) => (hide ? cell.removeAttribute("title") : cell.setAttribute("title", cell.dataset.tip)));

  // Filter: all words must occur in the row, its work included; an outcome must occur in it.
  const rows = all("table.grid tbody tr, table.cells tbody tr").map((row) => {
    const work = row.dataset.work || row.closest(".work").dataset.work;
    const precisions = all("td[data-place]", row).map((cell) => cell.dataset.place).join(" ");
    return { row, text: `${work} ${precisions} ${row.textContent}`.toLowerCase() };
  });
  const filter = () => {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const outcome = byId("outcome").value;
    rows.forEach(({ row, text }) => {
      const squares = all("td[data-outcome]", row);
      const has = !outcome || row.dataset.outcome === outcome || squares.some((cell) => cell.dataset.outcome === outcome);
      row.hidden = !has || !words.every((word) => text.includes(word));
      squares.forEach((cell) => cell.classList.toggle("faded", Boolean(outcome) && cell.dataset.outcome !== outcome));
    });
    all(".work").forEach((work) => (work.hidden = all("tbody tr", work).every((row) => row.hidden)));
    const cells = all("table.cells tbody tr");
    const shown = cells.filter((row) => !row.hidden).length;
    byId("shown").textContent = `${shown.toLocaleString("en")} of ${cells.length.toLocaleString("en")} cells`;
  };

  // Baseline: the same ratio, interval, digits and tint as the page was made with (bench/report/facts.py, numbers.py).
  const round = (value, decimals) => {
    const size = 10 ** decimals;
    const places = Math.max(decimals, 0);
    const rounded = Math.round(value * size) / size;
    return rounded.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places });
  };
  const significant = (value, digits) => round(value, digits - 1 - Math.floor(Math.log10(Math.abs(value))));
  const ratioOf = (mine, theirs) => {
    const estimate = mine[0] / theirs[0];
    if (mine.length < 3 || theirs.length < 3) return [estimate];
    const below = Math.hypot(Math.log(mine[0] / mine[1]), Math.log(theirs[2] / theirs[0]));
    const above = Math.hypot(Math.log(mine[2] / mine[0]), Math.log(theirs[0] / theirs[1]));
    return [estimate, estimate * Math.exp(-below), estimate * Math.exp(above)];
  };
  const endText = (end, estimate) => {
    if (end < Math.min(1e-4, estimate / 1000)) return "<0.0001";
    return end > Math.max(1e4, estimate * 1000) ? ">10,000" : significant(end, 2);
  };
  const ratioText = ([estimate, low, high]) => {
    const least = 1 - Math.floor(Math.log10(estimate));
    if (low === undefined) return `${round(estimate, Math.max(least, 0))}×`;
    const width = Math.sqrt(high / low) - 1;
    const supported = Math.max(least, -Math.floor(Math.log10(Math.max(width, 1e-4) * estimate)), 0);
    const decimals = width <= 0.2 && estimate < 10 ? Math.max(supported, 2) : supported;
    const span =
      width > 0.2
        ? `${endText(low, estimate)}–${endText(high, estimate)}×`
        : `${round(low, decimals)}–${round(high, decimals)}×`;
    return `${round(estimate, decimals)}× (${span})`;
  };
  const tintOf = ([estimate, low, high]) => {
    if (low === undefined || (low <= 1 && high >= 1)) return "";
    const size = Math.max(estimate, 1 / estimate);
    return `${estimate > 1 ? "up" : "down"}-${[1, 1.5, 3, 10].filter((step) => size >= step).length}`;
  };
  const TINTS = ["up", "down"].flatMap((way) => [1, 2, 3, 4].map((step) => `${way}-${step}`));
  const rated = all("td[data-rate]").map((cell) => {
    const rate = cell.dataset.rate.split(" ").map(Number);
    const work = cell.closest(".work");
    return { cell, rate, work, was: { tint: cell.className, text: cell.querySelector(".ratio").textContent } };
  });
  const works = new Map(all(".work").map((work) => [work, { squares: [], said: work.querySelector(".base").textContent }]));
  rated.forEach((square) => works.get(square.work).squares.push(square));
  const listed = new Map(all("table.cells tbody tr").map((row) => [`${row.dataset.work}\n${row.dataset.place}`, row]));
  listed.forEach((row) => (row.wasRatio = [row.querySelector(".ratio").textContent, row.querySelector(".ratio").dataset.sort]));
  const tell = (square, tint, text, size) => {
    square.cell.classList.remove(...TINTS);
    if (tint) square.cell.classList.add(tint);
    square.cell.querySelector(".ratio").textContent = text;
    const cell = listed.get(`${square.work.dataset.work}\n${square.cell.dataset.place}`)?.querySelector(".ratio");
    if (cell) [cell.textContent, cell.dataset.sort] = [text || "–", size];
  };
  const rebase = () => {
    const select = byId("baseline");
    const words = select.selectedOptions[0].textContent;
    works.forEach(({ squares, said }, work) => {
      const base = squares.find((square) => square.cell.dataset.place === select.value);
      squares.forEach((square) => {
        if (!select.value) {
          const row = listed.get(`${square.work.dataset.work}\n${square.cell.dataset.place}`);
          tell(square, square.was.tint, square.was.text, "");
          if (row) [row.querySelector(".ratio").textContent, row.querySelector(".ratio").dataset.sort] = row.wasRatio;
        } else if (!base) tell(square, "", "", "");
        else if (square === base) tell(square, "", "baseline", 1);
        else {
          const ratio = ratioOf(square.rate, base.rate);
          tell(square, tintOf(ratio), ratioText(ratio), ratio[0]);
        }
      });
      const none = `${words} was not measured here: no ratios`;
      work.querySelector(".base").textContent = !select.value ? said : base ? `1× is ${words}` : none;
    });
  };
  byId("baseline").addEventListener("change", rebase);
  byId("filter").addEventListener("input", filter);
  byId("outcome").addEventListener("change", filter);
  document.querySelector(".toolbar").addEventListener("submit", (event) => event.preventDefault());
  rebase();
  filter();

  // Deep links: what is linked to opens, with all that it lies in.
  const open = () => {
    const target = location.hash.length > 1 && byId(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let box = target.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  open();
  let closed = [];
  addEventListener("beforeprint", () => {
    untip(false);
    closed = all("details:not([open])");
    closed.forEach((box) => (box.open = true));
  });
  addEventListener("afterprint", () => {
    untip(true);
    closed.forEach((box) => (box.open = false));
  });

  // Raw samples: one gzip stream of JSON lines in the page; a cell's lines are picked out when asked for.
  const page = JSON.parse(byId("page-data").textContent);
  const lines = async () => {
    const bytes = Uint8Array.from(atob(page.raw), (char) => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return (await new Response(stream).text()).split("\n").filter(Boolean);
  };
  all("button.download").forEach((button) =>
    button.addEventListener("click", async () => {
      const id = button.dataset.cell;
      const found = (await lines()).filter((line) => !id || JSON.parse(line).cell_id === id);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob(found.map((line) => `${line}\n`), { type: "application/jsonl" }));
      link.download = `${id ? `cell-${id}` : page.name}.jsonl`;
      link.click();
      URL.revokeObjectURL(link.href);
    }),
  );

  // Charts: one description, drawn by uPlot when it comes into sight; print keeps the still picture.
  const resolved = (name) => {
    const probe = document.createElement("i");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };
  const short = (value) => {
    const [size, prefix] = [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e3, " k"], [0, ""]].find(([least]) => value >= least);
    if (size) return `${+(value / size).toPrecision(3)}${prefix}`;
    return value < 1e-3 && value > 0 ? value.toExponential(0) : `${+value.toPrecision(3)}`;
  };
  const intervals = (spec, ink) => (plot) => {
    const { ctx } = plot;
    ctx.save();
    ctx.strokeStyle = ink;
    ctx.lineWidth = devicePixelRatio;
    const stroke = (x, low, high) => {
      const place = plot.valToPos(x, "x", true);
      ctx.beginPath();
      ctx.moveTo(place, plot.valToPos(low, "y", true));
      ctx.lineTo(place, plot.valToPos(high, "y", true));
      ctx.stroke();
    };
    ctx.beginPath();
    ctx.rect(plot.bbox.left, plot.bbox.top, plot.bbox.width, plot.bbox.height);
    ctx.clip();
    spec.series.forEach((one, index) => {
      if (plot.series[index + 1].show) one.points.forEach(([x, , low, high]) => low !== null && stroke(x, low, high));
    });
    ctx.setLineDash([2, 4]);
    spec.marks.forEach((x) => stroke(x, plot.scales.y.min, plot.scales.y.max));
    ctx.restore();
  };
  // The shapes of bench/report/charts.py, by matplotlib's letters: corners around the middle, in units of their size.
  const SHAPES = {
    s: [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
    "^": [[0, -1.1], [1.1, 0.9], [-1.1, 0.9]],
    v: [[0, 1.1], [1.1, -0.9], [-1.1, -0.9]],
    D: [[0, -1.2], [1.2, 0], [0, 1.2], [-1.2, 0]],
    P: [[-0.4, -1.1], [0.4, -1.1], [0.4, -0.4], [1.1, -0.4], [1.1, 0.4], [0.4, 0.4], [0.4, 1.1], [-0.4, 1.1], [-0.4, 0.4],
      [-1.1, 0.4], [-1.1, -0.4], [-0.4, -0.4]],
  };
  const mark = (ctx, { shape }, colour, x, y, size) => {
    ctx.fillStyle = ctx.strokeStyle = colour;
    ctx.lineWidth = size / 2.2;
    ctx.beginPath();
    if (shape === "x") {
      [-1, 1].forEach((way) => (ctx.moveTo(x - size, y - way * size), ctx.lineTo(x + size, y + way * size)));
      ctx.stroke();
    } else {
      if (SHAPES[shape]) SHAPES[shape].forEach(([left, down]) => ctx.lineTo(x + left * size, y + down * size));
      else ctx.arc(x, y, size, 0, 2 * Math.PI);
      ctx.fill();
    }
  };
  const colourOf = (one) => resolved(one.wrong ? "--bad" : `--series-${one.colour}`);
  const marks = (one, colour) => (plot, index) => {
    const { ctx, bbox } = plot;
    const size = 4.5 * devicePixelRatio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left - size, bbox.top - size, bbox.width + 2 * size, bbox.height + 2 * size);
    ctx.clip();
    ctx.globalAlpha = plot.series[index].alpha;
    plot.data[index].forEach((y, at) => {
      if (y === null || y === undefined) return;
      mark(ctx, one, colour, plot.valToPos(plot.data[0][at], "x", true), plot.valToPos(y, "y", true), size);
    });
    ctx.restore();
    return false;
  };
  const DASH = [8, 5];
  const seriesOf = (one, texts) => {
    const stroke = colourOf(one);
    return {
      label: one.label,
      stroke,
      width: one.line ? 2 : 0,
      dash: one.dashed ? DASH : undefined,
      spanGaps: true,
      paths: one.line ? undefined : () => null,
      points: { show: one.bare ? false : marks(one, stroke) },
      value: (plot, value, series, index) => texts[index] ?? "",
    };
  };
  // The legend's marker is a piece of the series: its line, dashed or not, with its shape.
  const sample = (box, one) => {
    const canvas = document.createElement("canvas");
    const [width, height, ctx] = [34, 14, canvas.getContext("2d")];
    [canvas.width, canvas.height] = [width * devicePixelRatio, height * devicePixelRatio];
    ctx.scale(devicePixelRatio, devicePixelRatio);
    ctx.strokeStyle = colourOf(one);
    ctx.lineWidth = 2;
    if (one.line) {
      ctx.setLineDash(one.dashed ? DASH : []);
      ctx.beginPath();
      ctx.moveTo(0, height / 2);
      ctx.lineTo(width, height / 2);
      ctx.stroke();
      ctx.setLineDash([]);
    }
    if (!one.bare) mark(ctx, one, colourOf(one), width / 2, height / 2, 4.5);
    box.append(canvas);
  };
  // uPlot wants one sorted x for all series; points of one series that share an x need a row each.
  const aligned = (spec) => {
    const rows = new Map();
    spec.series.forEach((one, number) => {
      const seen = new Map();
      one.points.forEach(([x, y, , , text]) => {
        const nth = (seen.get(x) ?? 0) + 1;
        seen.set(x, nth);
        const key = `${x} ${nth}`;
        if (!rows.has(key)) rows.set(key, { x, nth, ys: spec.series.map(() => null), texts: spec.series.map(() => "") });
        rows.get(key).ys[number] = y;
        rows.get(key).texts[number] = text;
      });
    });
    return [...rows.values()].sort((a, b) => a.x - b.x || a.nth - b.nth);
  };
  // Lines of a logarithmic axis: 1, 2, 5 of each decade, decades only where there are many.
  const decades = (plot, axis, low, high) => {
    const digits = high / low < 300 ? [1, 2, 5] : [1];
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1)
      digits.forEach((digit) => found.push(+`${digit}e${power}`));
    return found.filter((value) => value >= low && value <= high);
  };
  const every = (plot, splits) => splits;
  const draw = (figure) => {
    const spec = JSON.parse(figure.querySelector("script").textContent);
    const place = figure.querySelector(".live");
    figure.classList.add("drawn");
    const rows = aligned(spec);
    const points = spec.series.flatMap((one) => one.points);
    const ticks = new Map(spec.x.ticks);
    const linear = spec.x.log === "linear";
    const ends = (values, share) => [Math.min(...values) / share, Math.max(...values) * share];
    const [left, right] = linear ? [rows[0].x - 0.3, rows.at(-1).x + 0.3] : ends(rows.map((row) => row.x), 1.25);
    const [low, high] = ends(points.flatMap(([, y, least, most]) => [y, least ?? y, most ?? y]), 1.25);
    // uPlot asks with the ends of the data for the whole, and with the drawn rectangle's for a part.
    const whole = (values, from, to) => (plot, min, max) => (values.has(min) && values.has(max) ? [from, to] : [min, max]);
    const places = new Set([rows[0].x, rows.at(-1).x]);
    const heights = new Set(points.map(([, y]) => y));
    const [ink, muted, rule] = ["--ink", "--muted", "--rule"].map(resolved);
    const axis = (label, size, log) => ({ label, size, stroke: muted, labelSize: 22, font: "12px system-ui",
      labelFont: "13px system-ui", filter: every, ...(log ? { splits: decades } : {}),
      grid: { stroke: rule, width: 1, filter: every }, ticks: { stroke: rule, width: 1, filter: every } });
    figure.plot = new uPlot(
      {
        width: Math.max(280, place.clientWidth - 20),
        height: 340,
        cursor: { focus: { prox: 30 }, drag: { x: true, y: true, uni: 20 } },
        scales: {
          x: { time: false, distr: linear ? 1 : 3, log: spec.x.log === "log2" ? 2 : 10, range: whole(places, left, right) },
          y: { distr: 3, log: 10, range: whole(heights, low, high) },
        },
        axes: [
          { ...axis(spec.x.label, 34, !ticks.size),
            ...(ticks.size ? { splits: () => [...ticks.keys()] } : {}),
            values: (u, values) => values.map((value) => (value === null ? "" : ticks.get(value) ?? short(value))) },
          { ...axis(spec.y.label, 62, true), values: (u, values) => values.map((value) => (value === null ? "" : short(value))) },
        ],
        series: [
          { label: spec.x.label.replace(/ \(.*/, ""), value: (u, x) => (x === null ? "" : ticks.get(x) ?? short(x)) },
          ...spec.series.map((one, number) => seriesOf(one, rows.map((row) => row.texts[number]))),
        ],
        legend: { markers: { width: 0 } },
        hooks: { draw: [intervals(spec, ink)] },
      },
      [rows.map((row) => row.x), ...spec.series.map((one, number) => rows.map((row) => row.ys[number]))],
      place,
    );
    all(".u-legend .u-series", place).forEach((row, at) => at && sample(row.querySelector(".u-marker"), spec.series[at - 1]));
  };
  const redraw = (figure) => {
    if (!figure.plot) return;
    figure.plot.destroy();
    draw(figure);
  };
  const seen = new IntersectionObserver((entries) =>
    entries.forEach((entry) => {
      if (!entry.isIntersecting) return;
      seen.unobserve(entry.target);
      draw(entry.target);
    }),
  );
  all("figure.chart").forEach((figure) => seen.observe(figure));
  themed.push(() => all("figure.chart").forEach(redraw));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => themed.forEach((one) => one()));
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => all("figure.chart").forEach(redraw), 150);
  });
})();
