// One list of results: it asks, waits, draws, and shows what went wrong. Only the last question's answer is drawn.

import { call } from "./api.js";
import { button, count, el } from "./dom.js";
import { cards } from "./hits.js";
import { remember } from "./names.js";
import { showReading } from "./reading.js";

const SLOW = 150; // ms after which waiting shows
const HEADLINES = {
	0: "No connection", 422: "The server refuses this", 429: "The server is busy", 504: "The server took too long",
};

/** `onToken(again)` asks for a token, `onHits(pane)` hears of each change of the list. */
export function makePane(name, onToken, onHits) {
	const title = el("h2", { tabindex: "-1" }), summary = el("p.summary", { role: "status" });
	const alert = el("div.alert", { role: "alert" }), reading = el("details.reading"), list = el("ol.hits");
	const root = el("section", { "aria-label": name }, el("div.head", title, summary), alert, reading, list);
	const pane = { root, title, hits: [], beside: null, ask, clear, draw, link };
	let key, question, running, timer;

	/** Ask {path, body, bundle, link, title}; what was answered is asked again only if `force`. */
	async function ask(next, force = false) {
		const nextKey = JSON.stringify([next.path, next.body]);
		question = next;
		title.textContent = next.title;
		if (!force && nextKey === key) return draw();
		stop();
		key = nextKey;
		const mine = (running = new AbortController()), began = performance.now();
		timer = setTimeout(() => {
			root.setAttribute("aria-busy", "true");
			summary.textContent = "Searching …";
		}, SLOW);
		const [answer, error] = await call(next.path, next.body, mine.signal).then((found) => [found], (failed) => [null, failed]);
		if (mine !== running) return; // a later question was asked
		stop();
		if (error) fail(error);
		else show(answer, performance.now() - began);
	}

	function stop() {
		running?.abort();
		running = null;
		clearTimeout(timer);
		root.removeAttribute("aria-busy");
	}

	/** Forget the question and its answer. */
	function clear() {
		stop();
		title.textContent = "";
		question = null;
		show({ hits: [] });
	}

	function show(answer, took) {
		pane.hits = answer.hits;
		alert.replaceChildren();
		summary.replaceChildren();
		if (took === undefined) key = null;
		else {
			const time = el("span", { "aria-hidden": "true" }, ` · ${took.toFixed(took < 10 ? 1 : 0)} ms`);
			summary.append(answer.hits.length ? count(answer.hits.length, "result") : "Nothing fits.", time);
			remember(question.bundle, answer.hits);
		}
		showReading(reading, answer.reading, answer.truncated);
		draw();
	}

	/** Draw; `tell` is false if the list beside changed, and not this one. */
	function draw(tell = true) {
		const { hits, beside } = pane, focused = list.contains(document.activeElement) && document.activeElement.dataset.id;
		const other = beside?.hits.length ? new Map(beside.hits.map((hit, place) => [String(hit.id), place + 1])) : null;
		list.classList.toggle("rows", beside !== null);
		list.replaceChildren(...cards(hits, question?.link, other));
		list.hidden = !hits.length;
		if (focused) (link(focused) ?? title).focus();
		if (tell) onHits(pane);
	}

	function link(id) {
		return [...list.querySelectorAll("a.similar")].find((each) => each.dataset.id === id);
	}

	function fail({ status, message, wait }) {
		const asked = question, again = () => asked === question && ask(asked, true);
		show({ hits: [] });
		if (status === 401) return onToken(again);
		alert.append(el("strong", HEADLINES[status] ?? "This did not work"), el("p", message));
		if ([0, 429, 503].includes(status)) alert.append(countdown(Math.ceil(wait || 3), again));
		if (![404, 413, 422].includes(status)) alert.append(button("Try now", again));
	}

	function countdown(seconds, again) {
		const left = el("span", String(seconds));
		const tick = () => {
			seconds -= 1;
			left.textContent = seconds;
			if (seconds > 0) timer = setTimeout(tick, 1000);
			else again();
		};
		timer = setTimeout(tick, 1000);
		return el("p", { "aria-live": "off" }, "Trying again in ", left, " s.");
	}

	return pane;
}
