// The panel of filters, and the condition that it makes.

import { el, textBox } from "./dom.js";
import { byColumn } from "./state.js";

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const INPUTS = { date: { type: "date" }, datetime: { type: "datetime-local", step: "1" } };

const quoteColumn = (name) =>
	/^[a-z_]\w*$/i.test(name) && !/^(and|or|not|in|true|false|null)$/i.test(name) ? name : `\`${name}\``;
const literal = (value, kind) => (kind === "number" || kind === "truth" ? value : `'${value.replace(/[\\']/g, "\\$&")}'`);

/** What is chosen, in the grammar of filters; null if nothing is. */
export function condition(columns, { filters, where }) {
	const parts = [];
	for (const [column, { in: values = [], min, max }] of Object.entries(filters)) {
		const name = quoteColumn(column), kind = columns.find((each) => each.column === column)?.kind;
		const [first, ...others] = values.map((value) => literal(value, kind));
		if (others.length) parts.push(`${name} in (${[first, ...others].join(", ")})`);
		else if (values.length) parts.push(`${name} = ${first}`);
		if (min) parts.push(`${name} >= ${literal(min.replace("T", " "), kind)}`);
		if (max) parts.push(`${name} <= ${literal(max.replace("T", " "), kind)}`);
	}
	if (where.trim()) parts.push(parts.length ? `(${where})` : where);
	return parts.length ? parts.join(" and ") : null;
}

/** How many columns are filtered. */
export const active = ({ filters, where }) => Object.keys(filters).length + (where.trim() ? 1 : 0);

/** `onChange(change of the view)` hears what is chosen. */
export function filterPanel({ filters: columns, candidates }, view, onChange) {
	let { filters } = view;
	const choose = (column, part, value) => {
		const own = { ...filters[column], [part]: value };
		if (!value.length) delete own[part];
		filters = byColumn({ ...filters, [column]: own });
		if (!Object.keys(own).length) delete filters[column];
		onChange({ filters });
	};
	const usable = columns.filter(({ column }) => column && !column.includes("`")); // no condition can name others
	const isListed = ({ column, kind, values }) =>
		kind !== "text" || filters[column] || (values && 2 * values.length <= candidates); // no list of ids
	const group = (facts) => {
		const chosen = filters[facts.column] ?? {};
		return el("fieldset", el("legend", facts.column), (hasBoxes(facts, chosen) ? boxes : range)(facts, chosen, choose));
	};
	const own = textBox({ value: view.where, "aria-label": "Your own condition", onchange: () => onChange({ where: own.value }) });
	return [
		...usable.filter(isListed).map(group),
		el("details", { open: view.where !== "" || !usable.some(isListed) }, el("summary", "Your own condition"), own, el("p.hint", "such as ", el("code", "year > 1990 and not genre = 'War'"))),
	];
}

const hasBoxes = ({ kind, values }, chosen) =>
	kind === "text" || kind === "truth" || (kind === "number" && (chosen.in || values?.length < 9));

function boxes({ column, kind, values }, chosen, choose) {
	const picked = new Set(chosen.in), known = kind === "truth" ? [false, true] : values ?? [];
	const all = new Set([...known.map(String), ...picked]);
	return el("div.boxes", [...all].map((value) => {
		const onchange = ({ target }) => {
			picked[target.checked ? "add" : "delete"](value);
			choose(column, "in", [...picked]);
		};
		const input = el("input", { type: "checkbox", checked: picked.has(value), onchange });
		return el("label.box", input, el("span", { true: "yes", false: "no", "": "(empty)" }[value] ?? value));
	}));
}

function range({ column, kind, min, max }, chosen, choose) {
	const note = el("p.bad", { role: "status" });
	const end = (part, name) => {
		const onchange = () => {
			const text = input.value.trim(), bad = kind === "number" && text !== "" && !NUMBER.test(text);
			note.textContent = bad ? `“${text}” is no number.` : "";
			input.setAttribute("aria-invalid", bad);
			if (!bad) choose(column, part, text);
		};
		const label = `${column} ${name}`, input = textBox({ inputmode: "decimal", ...INPUTS[kind], value: chosen[part] ?? "", "aria-label": label, onchange });
		return el("label", name, input);
	};
	const ends = min === null || max === null ? "" : `${min} to ${max}`.replaceAll("T", " ");
	return [el("div.range", end("min", "from"), end("max", "to")), el("p.hint", ends), note];
}
