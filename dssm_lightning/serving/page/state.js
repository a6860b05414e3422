// What is on view, as the part of the address after "#": a link shows the same again, and servers log nothing of it.

/** An object whose keys may be the name of any column, "constructor" too. */
export const byColumn = (values) => Object.assign(Object.create(null), values);

const START = {
	bundle: "", bundle2: "", // names; the first one
	versus: "", // "query" or "bundle": two lists side by side
	query: null, query2: null, // values by column; the column "" is the only one
	similar: null, // the id of a candidate
	k: 24, hybrid: 0,
	seen: false, // also find what is in the history
	filters: null, // by column {in: [], min: "", max: ""}
	where: "", // a condition in the grammar of filters
};
const QUERIES = byColumn({ q: "query", r: "query2" });

/** The address of a view. */
export function write(view) {
	const found = new URLSearchParams();
	const put = (key, value) => value && found.append(key, value);
	for (const name of ["bundle", "bundle2", "versus", "hybrid", "where"]) put(name, view[name]);
	for (const letter in QUERIES) {
		for (const [column, value] of Object.entries(view[QUERIES[letter]])) {
			if (typeof value === "string") put(column ? `${letter}.${column}` : letter, value);
			else put(`${letter}j.${column}`, JSON.stringify(value));
		}
	}
	if (view.similar !== null) put("similar", JSON.stringify(view.similar));
	if (view.k !== START.k) put("k", view.k);
	if (view.seen) put("seen", 1);
	for (const column in view.filters) {
		for (const [part, values] of Object.entries(view.filters[column])) [values].flat().forEach((each) => found.append(`${part}.${column}`, each));
	}
	return `#${found}`;
}

/** The view of an address; what cannot be read is left out. */
export function read(hash) {
	const view = { ...START, query: byColumn(), query2: byColumn(), filters: byColumn() };
	for (const [key, value] of new URLSearchParams(hash.slice(1))) {
		const [kind] = key.split("."), column = key.slice(kind.length + 1);
		const filter = () => (view.filters[column] ??= {});
		if (kind in QUERIES) view[QUERIES[kind]][column] = value;
		else if (/^[qr]j$/.test(kind)) view[QUERIES[kind[0]]][column] = json(value) ?? "";
		else if (kind === "in") (filter().in ??= []).push(value);
		else if (kind === "min" || kind === "max") filter()[kind] = value;
		else if (kind === "similar") view.similar = json(value);
		else if (kind === "seen") view.seen = true;
		else if (kind === "k" || kind === "hybrid") view[kind] = Math.abs(Number.parseFloat(value)) || START[kind];
		else if (/^(bundle2?|where)$/.test(kind) || (kind === "versus" && /^(query|bundle)$/.test(value))) view[kind] = value;
	}
	view.k = Math.ceil(view.k);
	return view;
}

function json(text) {
	try {
		return JSON.parse(text);
	} catch {
		return null;
	}
}
