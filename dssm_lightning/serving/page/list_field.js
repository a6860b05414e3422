// A field of several values: what is chosen, in its order, and a box that finds more.

import { call, showPicture } from "./api.js";
import { button, debounce, el, shown, textBox } from "./dom.js";
import { lookUp, nameOf, remember, seenHit, titleOf } from "./names.js";

const STEPS = { ArrowUp: -1, ArrowDown: 1 };
const AGES = " The model also reads how long ago: here, each counts as a day before the next.";

export function listField(facts, options, heard) {
	const { bundle } = options, { isHistory } = facts;
	let values = [];
	const chosen = el("ol.chosen", { "aria-label": `${facts.label}: chosen` });
	const note = el("p.hint", { role: "status" });
	const tell = (text) => (note.textContent = text);
	const draw = () => chosen.replaceChildren(...values.map(item));
	const update = (next, text, focus) => {
		values = next;
		draw();
		chosen.children[focus]?.querySelector("button").focus();
		tell(text);
		heard(values.length ? values : undefined);
	};
	const input = finder(facts, { ...options, tell }, (value, name) => update([...values, value], `${name} is number ${values.length + 1}.`));
	const move = (place, step) => {
		if (!(place + step in values)) return;
		const next = [...values];
		next.splice(place + step, 0, ...next.splice(place, 1));
		update(next, `Now number ${place + step + 1}.`, place + step);
	};
	const remove = (place, name) => {
		update(values.toSpliced(place, 1), `${name} is removed.`, Math.min(place, values.length - 2));
		if (!values.length) input[0].focus();
	};
	const item = (value, place) => {
		const name = isHistory ? nameOf(bundle, value) : shown(value);
		const act = (text, what, run, disabled) => button(text, run, { "aria-label": `${what} ${name}`, disabled });
		const onkeydown = ({ altKey, key }) => {
			if (key === "Delete") remove(place, name);
			else if (altKey && key in STEPS) move(place, STEPS[key]);
		};
		return el("li", { onkeydown }, isHistory && poster(seenHit(bundle, value)), el("span", name),
			act("×", "Remove", () => remove(place, name)),
			act("↑", "Move up", () => move(place, -1), place === 0),
			act("↓", "Move down", () => move(place, 1), place === values.length - 1));
	};
	const write = (next = []) => {
		if (JSON.stringify(next) === JSON.stringify(values)) return;
		values = [next].flat();
		draw();
		if (isHistory) lookUp(bundle, values).then(draw);
	};
	const hint = facts.age && el("p.hint", "Oldest first.", facts.age === "seconds" && AGES);
	return { element: [el("div.adder", input), hint, chosen, note], write, focus: () => input[0].focus() };
}

function poster(hit) {
	if (!hit?.picture) return null;
	const image = el("img", { alt: "", onerror: () => image.remove() });
	showPicture(image, hit.picture);
	return image;
}

function finder({ label, isHistory, choices, kind }, { id, bundle, tell, onToken }, add) {
	const list = el("ul.found", { id: `${id}-found`, role: "listbox", "aria-label": `${label}: found`, hidden: true });
	let hits = [], at = -1, running;
	const mark = (place) => {
		at = place;
		[...list.children].forEach((each, i) => each.setAttribute("aria-selected", i === at));
		input.setAttribute("aria-activedescendant", list.children[at]?.id ?? "");
		list.children[at]?.scrollIntoView({ block: "nearest" });
	};
	const show = (found) => {
		hits = found;
		list.replaceChildren(...hits.map(option));
		list.hidden = !hits.length;
		input.setAttribute("aria-expanded", !list.hidden);
		mark(isHistory && hits.length ? 0 : -1);
	};
	const close = () => {
		running?.abort();
		running = null;
		search.cancel();
		show([]);
	};
	const take = (value, name) => {
		input.value = "";
		close();
		input.focus();
		add(value, name);
	};
	const takeTyped = () => {
		const text = input.value.trim(), value = kind === "Vector" ? Number(text) : text;
		if (Number.isNaN(value)) tell(`“${text}” is no number.`);
		else if (text) take(value, text);
	};
	const find = async () => {
		const text = input.value.trim(), mine = new AbortController();
		running?.abort();
		running = mine;
		if (text === "") return close();
		if (!isHistory) return show((choices ?? []).filter((each) => each.includes(text)).slice(0, 20).map((each) => ({ id: each })));
		try {
			const answer = await call("/candidates", { text, k: 20, bundle: bundle.name }, mine.signal);
			if (mine !== running) return;
			remember(bundle, answer.hits);
			show(answer.hits);
			tell(hits.length ? `${hits.length} found.` : `No candidate has “${text}”.`);
		} catch (error) {
			if (error.status === 401) onToken(find);
			else if (error.name !== "AbortError") tell(error.message);
		}
	};
	const search = debounce(find, 80);
	const option = (hit, i) => {
		const title = titleOf(hit), others = Object.values(hit.display ?? {}).map(shown).filter((text) => text && text !== title);
		return el("li", {
			role: "option", id: `${id}-${i}`,
			onpointerdown: (event) => event.preventDefault(), // the box keeps the focus
			onclick: () => take(hit.id, title),
		}, poster(hit), el("span", title), el("small", others.join(" · ").slice(0, 80)));
	};
	const onkeydown = (event) => {
		if (event.isComposing) return;
		if (event.key in STEPS && hits.length) mark((at + STEPS[event.key] + hits.length) % hits.length);
		else if (event.key === "Enter" && hits[at]) take(hits[at].id, titleOf(hits[at]));
		else if (event.key === "Enter") isHistory || takeTyped();
		else if (event.key === "Escape" && hits.length) close();
		else return;
		event.preventDefault();
	};
	const input = textBox({
		id, role: "combobox", placeholder: isHistory ? "Find by name" : "Enter adds", "aria-expanded": "false",
		"aria-controls": list.id, "aria-autocomplete": "list", oninput: search, onblur: close, onkeydown,
	});
	return [input, list, !isHistory && button("Add", takeTyped, { "aria-label": `Add to ${label}` })];
}
