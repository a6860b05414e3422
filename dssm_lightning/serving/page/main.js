// The page: the view of the address, drawn. Every change of the view is a new address.

import { call, picturesNeedToken } from "./api.js";
import { byId, count, debounce, el } from "./dom.js";
import { isOneText, missingColumns, queryForm, rawQuery } from "./fields.js";
import { active, filterPanel } from "./filters.js";
import { agreement } from "./hits.js";
import { listenToKeys } from "./keyboard.js";
import { makePane } from "./pane.js";
import { lookUp, seenHit } from "./names.js";
import { bundlesOf, questionOf, similarView } from "./questions.js";
import { byColumn, read, write } from "./state.js";
import { askToken } from "./token.js";

const WAIT = 80; // ms after the last key
const drawn = {}; // of what the form and the filters are
let info = null;
let view = read(location.hash);
let forms = [];
let typing = false; // the newest address is that of a query that is still typed
let pending = {}; // changes that wait for the last key
let focusNext = null; // id of the result to focus once it is drawn; "": the first one

const panes = ["First list", "Second list"].map((name) => makePane(name, askToken, heardHits));
const later = debounce(() => go({}, true), WAIT);

/** Change the view and its address; while one types, all of it is one address. */
function go(change, typed = false) {
	later.cancel();
	view = { ...view, ...pending, ...change };
	pending = {};
	const address = write(view);
	if (address !== (location.hash || "#")) {
		if (typed && typing) history.replaceState(history.state, "", address);
		else history.pushState({ depth: (history.state?.depth ?? 0) + 1 }, "", address);
	}
	typing = typed;
	draw();
}

function goLater(change) {
	Object.assign(pending, change);
	later();
}

/** Go where the browser has gone. */
function follow() {
	const next = read(location.hash);
	if (!info || write(next) === write(view)) return;
	later.cancel();
	[view, pending, typing, focusNext] = [next, {}, false, history.state?.focus ?? null];
	draw();
}

function back() {
	if (view.similar === null) return focusSearch();
	if (history.state?.depth) return history.back();
	focusNext = String(view.similar);
	go({ similar: null });
}

function draw() {
	const bundles = bundlesOf(info, view), [first] = bundles;
	const two = view.versus === "bundle" || (view.versus === "query" && view.similar === null);
	byId("name").textContent = first.name;
	byId("facts").textContent = count(first.candidates, "candidate");
	drawForms(first);
	drawFilters(first);
	drawOptions(bundles);
	byId("back").hidden = view.similar === null;
	byId("panes").className = two ? "two" : view.similar === null ? "single" : "";
	panes[1].root.hidden = !two;
	const questions = panes.map((pane, side) => {
		pane.beside = two ? panes[1 - side] : null;
		return side && !two ? null : questionOf(info, view, side);
	});
	panes.forEach((pane, side) => (questions[side] ? pane.ask(questions[side]) : pane.clear()));
	document.title = `${panes[0].title.textContent || "Search"} – ${first.name}`;
	byId("welcome").hidden = questions.some(Boolean);
	const missing = missingColumns(first, view.query);
	byId("missing").textContent = missing.length && Object.keys(view.query).length ? `Also needed: ${missing.join(", ")}` : "";
	if (view.similar !== null && !seenHit(first, view.similar)) lookUp(first, [view.similar]).then((found) => found && draw());
	const unknown = [view.bundle, view.bundle2].find((name) => name && !info.bundles.some((each) => each.name === name));
	byId("alert").textContent = unknown ? `This server has no bundle “${unknown}”: another one is shown.` : "";
}

function drawForms(bundle) {
	const names = view.versus === "query" ? ["query", "query2"] : ["query"], twice = names.length > 1;
	const key = `${twice} ${bundle.name}`;
	if (key !== drawn.forms) {
		drawn.forms = key;
		forms = names.map((name, place) => queryForm(bundle, {
			place,
			side: twice ? `, ${place ? "second" : "first"} query` : "",
			limits: info.limits,
			onToken: askToken,
			onInput: (query, typed) => (typed ? goLater : go)({ [name]: query, similar: null }),
		}));
		byId("query").className = `${isOneText(bundle) ? "one" : "many"}${twice ? " twice" : ""}`;
		byId("query").replaceChildren(...forms.map(({ element }) => element), el("button.primary", "Search"));
	}
	if (!Object.keys(pending).length) forms.forEach((form, place) => form.write(view[names[place]]));
}

function drawFilters(bundle) {
	const keyOf = (shown) => JSON.stringify([bundle.name, shown.filters, shown.where]), number = active(view);
	byId("filters").hidden = !bundle.filters.length;
	byId("filters-on").textContent = number ? `(${number})` : "";
	byId("clear-filters").hidden = !number;
	if (keyOf(view) === drawn.filters) return;
	drawn.filters = keyOf(view);
	byId("filter-form").replaceChildren(...filterPanel(bundle, view, (change) => {
		drawn.filters = keyOf({ ...view, ...change }); // the panel shows it already
		go(change);
	}));
}

function drawOptions([first, second]) {
	const form = byId("options"), names = info.bundles.map(({ name }) => name), several = names.length > 1;
	const most = Math.min(first.candidates, info.limits.max_k), k = Math.min(view.k, most);
	const put = (name, shown, value, values) => {
		const control = form.elements[name];
		control.closest("label").hidden = !shown;
		if (values) control.replaceChildren(...values.map((each) => el("option", String(each))));
		control.value = value;
	};
	form.hidden = false;
	for (const each of form.elements.versus) each.checked = each.value === view.versus;
	byId("versus-bundle").hidden = !several;
	put("bundle", several, first.name, names);
	put("bundle2", view.versus === "bundle", second.name, names);
	put("k", true, k, [...new Set([12, 24, 48, 96, k])].filter((each) => each <= most).sort((a, b) => a - b));
	put("hybrid", first.hybrid || second.hybrid, view.hybrid);
	byId("hybrid-now").value = view.hybrid ? `× ${view.hybrid}` : "off";
	put("seen", first.history, "1");
	form.elements.seen.checked = !view.seen;
}

function heardHits(pane) {
	pane.beside?.draw(false);
	const [first, second] = panes.map(({ hits }) => hits);
	byId("agreement").textContent = first.length && second.length ? agreement(first, second) : "";
	if (focusNext === null || pane !== panes[0] || !first.length) return;
	(panes[0].link(focusNext) ?? panes[0].link(String(first[0].id))).focus();
	focusNext = null;
}

function focusSearch(event) {
	event?.preventDefault();
	forms[0]?.focus();
}

/** Search at once; without any value, for what the model shows to somebody new. */
function submit(event) {
	event.preventDefault();
	const [bundle] = bundlesOf(info, view), query = pending.query ?? view.query;
	const isNew = bundle.history && rawQuery(bundle, query) === null;
	go({ similar: null, ...(isNew && { query: byColumn({ [bundle.history]: [] }) }) });
}

function openSimilar(event) {
	const link = event.target.closest("a.similar");
	if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
	event.preventDefault();
	history.replaceState({ ...history.state, focus: link.dataset.id }, "");
	focusNext = "";
	go(similarView(view, read(link.hash).similar));
}

function choose({ target: { name, type, value, checked } }) {
	const change = { [name]: type === "checkbox" ? !checked : type === "range" || name === "k" ? Number(value) : value };
	if (name === "versus" || name === "bundle") change.similar = null;
	if (name === "bundle") {
		const columns = ["", ...info.bundles.find((each) => each.name === value).query_columns.map(({ column }) => column)];
		const kept = Object.entries(view.query).filter(([key]) => columns.includes(key));
		Object.assign(change, { filters: byColumn(), where: "", query: byColumn(Object.fromEntries(kept)), query2: byColumn() });
	}
	if (type === "range") byId("hybrid-now").value = `× ${value}`;
	(type === "range" ? goLater : go)(change);
	if (value === "query") forms[1].focus();
}

function listen() {
	const on = (id, event, run) => byId(id).addEventListener(event, run);
	listenToKeys({ focusSearch, back, results: byId("results") });
	on("query", "submit", submit);
	on("query", "change", () => (typing = false)); // the next letter begins a new address
	on("options", "input", choose);
	on("filter-form", "submit", (event) => event.preventDefault());
	on("clear-filters", "click", () => {
		go({ filters: byColumn(), where: "" });
		byId("filters").querySelector("summary").focus();
	});
	on("results", "click", openSimilar);
	on("back", "click", back);
	on("skip", "click", () => (byId("results").querySelector("a.similar") ?? byId("welcome")).focus());
	for (const event of ["popstate", "hashchange"]) window.addEventListener(event, follow);
	byId("panes").append(...panes.map(({ root }) => root));
}

async function start() {
	try {
		info = await call("/info");
	} catch (error) {
		if (error.status === 401) return askToken(start);
		byId("alert").textContent = `${error.message} Trying again.`;
		return setTimeout(start, 3000);
	}
	picturesNeedToken(info.token_required);
	byId("filters").open = matchMedia("(min-width: 50rem)").matches;
	draw();
	if (!byId("welcome").hidden) focusSearch();
}

listen();
start();
