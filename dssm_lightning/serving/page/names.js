// Names of candidates that were seen since the page was opened.

import { call } from "./api.js";
import { shown } from "./dom.js";

const known = new Map();
const keyOf = (bundle, id) => JSON.stringify([bundle.name, String(id)]);

export const seenHit = (bundle, id) => known.get(keyOf(bundle, id));

export function remember(bundle, hits) {
	for (const hit of hits) known.set(keyOf(bundle, hit.id), hit);
}

/** The name of a candidate: its first shown text with letters, or its id. */
export function titleOf({ id, display }) {
	const texts = Object.values(display ?? {}).map(shown).filter(Boolean);
	return texts.find((text) => /[\p{L}\p{N}]/u.test(text)) ?? texts[0] ?? String(id);
}

/** Find candidates by their ids; returns whether all were found. */
export async function lookUp(bundle, ids) {
	for (const id of ids.filter((each) => !seenHit(bundle, each)).map(String)) {
		const { hits } = await call("/candidates", { text: id, k: 50, bundle: bundle.name }).catch(() => ({ hits: [] }));
		remember(bundle, hits.filter((hit) => String(hit.id) === id));
	}
	return ids.every((each) => seenHit(bundle, each));
}

export const nameOf = (bundle, id) => titleOf(seenHit(bundle, id) ?? { id });
