// What the view asks the server: a path and a body for each list.

import { missingColumns, rawQuery, valuesFor } from "./fields.js";
import { condition } from "./filters.js";
import { nameOf } from "./names.js";
import { write } from "./state.js";

/** The bundles of both lists; the first one stands for an unknown name. */
export function bundlesOf({ bundles }, view) {
	const named = (name) => bundles.find((each) => each.name === name);
	const first = named(view.bundle) ?? bundles[0];
	return [first, view.versus === "bundle" ? named(view.bundle2) ?? bundles.find((each) => each !== first) ?? first : first];
}

export const similarView = (view, id) => ({ ...view, similar: id, versus: view.versus === "bundle" ? "bundle" : "" });

/** What list 0 or 1 asks; null while there is nothing to ask. */
export function questionOf(info, view, side) {
	const bundles = bundlesOf(info, view), bundle = bundles[side];
	const most = (out) => Math.max(1, Math.min(view.k, bundle.candidates - out, info.limits.max_k));
	const link = ({ id }) => write(similarView(view, id));
	const common = { filter: condition(bundles[0].filters, view), bundle: bundle.name };
	if (view.similar !== null) {
		const title = `Similar to ${nameOf(bundle, view.similar)}`;
		return { path: "/similar", body: { id: view.similar, k: most(1), ...common }, bundle, link, title };
	}
	const values = valuesFor(bundles[0], side && view.versus === "query" ? view.query2 : view.query), query = rawQuery(bundle, values);
	if (query === null || (bundle === bundles[0] && missingColumns(bundle, values).length)) return null;
	const picked = new Set((query[bundle.history] ?? []).map((each) => String(each?.id ?? each)));
	const out = view.seen ? 0 : picked.size;
	const body = { query, k: most(out), ...common, exclude_history: out > 0, hybrid: (bundle.hybrid && view.hybrid) || null, explain: true };
	return { path: "/search", body, bundle, link, title: view.versus === "bundle" ? bundle.name : titleOf(bundle, values) };
}

/** A query in a few words. */
function titleOf({ history, ...bundle }, query) {
	const part = ([key, value]) => [value].flat().map((each) => (key === history ? nameOf(bundle, each) : String(each))).join(", ");
	return Object.entries(query).map(part).filter(Boolean).join(" · ").slice(0, 120) || "Results";
}
