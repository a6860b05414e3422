// The fields of a query, made from the columns that the model reads.

import { count, el, textBox } from "./dom.js";
import { listField } from "./list_field.js";
import { pictureField, pictures } from "./picture_field.js";
import { byColumn } from "./state.js";

const A_DAY = 86400; // seconds
const isNumber = ({ kind }) => kind === "Numeric" || kind === "Bucketized";

/** Whether one box is enough. */
export const isOneText = ({ query_columns: columns }) => columns.length === 1 && columns[0].text && !columns[0].list;

/** The values of an address by column: the only column needs no name. */
export function valuesFor({ query_columns: [{ column }, ...others] }, query) {
	const keys = Object.keys(query);
	return others.length || keys.length !== 1 ? query : byColumn({ [column]: query[keys[0]] });
}

/** The query as the server takes it; null while there is nothing to search for. */
export function rawQuery(bundle, query) {
	const found = byColumn();
	for (const [column, value] of Object.entries(valuesFor(bundle, query))) {
		const facts = bundle.query_columns.find((each) => each.column === column) ?? {}; // the server refuses others
		if (typeof value === "string" && value.trim() === "") continue;
		if (!facts.picture) found[column] = raw(facts, value);
		else if (pictures.has(value)) found[column] = pictures.get(value).base64;
	}
	return Object.keys(found).length ? found : null;
}

/** The columns that the model needs and that are empty. */
export function missingColumns(bundle, query) {
	const given = rawQuery(bundle, query) ?? byColumn();
	return bundle.query_columns.filter(({ column, needed }) => needed && !(column in given)).map(({ column }) => column);
}

function raw(facts, value) {
	if (isNumber(facts) && Number.isFinite(Number(value))) return Number(value);
	return facts.age === "seconds" ? [value].flat().map((id, place, all) => ({ id, seconds: A_DAY * (all.length - place) })) : value;
}

/** `onInput(query, typing)` hears each change. */
export function queryForm(bundle, options) {
	const columns = bundle.query_columns, one = isOneText(bundle);
	let query = byColumn();
	const fields = columns.map((facts, place) => {
		const { column } = facts, label = (one ? "Search" : column) + options.side, id = `field-${options.place}-${place}`;
		const heard = (value, typing = false) => {
			query = byColumn({ ...(!one && query), [one ? "" : column]: value });
			if (value === undefined) delete query[one ? "" : column];
			options.onInput(query, typing);
		};
		const make = facts.picture ? pictureField : facts.list ? listField : textField;
		const field = make({ ...facts, isHistory: column === bundle.history, label }, { ...options, bundle, one, id }, heard);
		const name = el("label", { for: id, class: one && "sr" }, label, facts.needed && !one && el("small", " needed"));
		return { ...field, column, element: el("div.field", name, field.element) };
	});
	const write = (values) => {
		query = byColumn(values);
		const own = valuesFor(bundle, values);
		for (const field of fields) field.write(own[field.column]);
	};
	return { element: el("div.fields", fields.map((each) => each.element)), write, focus: () => fields[0].focus() };
}

function textField(facts, { id, one, bundle }, heard) {
	const list = facts.choices && el("datalist", { id: `${id}-choices` }, facts.choices.map((value) => el("option", { value })));
	const input = textBox({
		id,
		type: facts.text ? "search" : "text",
		inputmode: isNumber(facts) && "decimal",
		list: list && list.id,
		enterkeyhint: "search",
		placeholder: one && `Search ${count(bundle.candidates, "candidate")}`,
		oninput: () => heard(input.value === "" ? undefined : input.value, true),
	});
	const write = (value = "") => {
		if (input.value !== String(value)) input.value = value;
	};
	return { element: [input, list], write, focus: () => (input.focus(), input.select()) };
}
