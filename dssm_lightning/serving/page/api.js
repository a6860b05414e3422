// Requests to the server that served this page, and to no other.

const TOKEN = "dssm-token"; // of sessionStorage: gone when the tab is closed
const pictures = new Map(); // path -> Promise of an address that <img> can show
let withToken = false;

export const setToken = (token) => sessionStorage.setItem(TOKEN, token);
export const hasToken = () => sessionStorage.getItem(TOKEN) !== null;
const address = (path) => new URL(`.${path}`, new URL(".", document.baseURI));
const failure = (message, status = 0, wait = 0) => Object.assign(new Error(message), { status, wait });

function request(path, options) {
	const headers = { ...options?.headers, ...(hasToken() && { Authorization: `Bearer ${sessionStorage.getItem(TOKEN)}` }) };
	return fetch(address(path), { credentials: "omit", redirect: "error", ...options, headers });
}

/** Read JSON; whole numbers that JavaScript cannot hold exactly become texts, which the server takes as well. */
export function readJson(text) {
	const parts = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
	return JSON.parse(text.replace(parts, (part) => (/^-?\d+$/.test(part) && !Number.isSafeInteger(Number(part)) ? `"${part}"` : part)));
}

/** Ask the server; a body makes it a POST. An error has a status, 0 without an answer, and the seconds to wait. */
export async function call(path, body, signal) {
	const post = body && { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
	let response, text, answer;
	try {
		response = await request(path, { cache: "no-store", signal, ...post });
		text = await response.text();
	} catch (error) {
		throw error.name === "AbortError" ? error : failure("The server cannot be reached. Is it still running?");
	}
	try {
		answer = readJson(text);
	} catch {
		throw failure(`The answer, of status ${response.status}, is not JSON.`, response.ok ? 500 : response.status);
	}
	if (response.ok) return answer;
	throw failure(answer.error, response.status, Number.parseFloat(response.headers.get("Retry-After")) || 0);
}

/** An <img> cannot send the token: from now on pictures are fetched. */
export const picturesNeedToken = (needed) => (withToken = needed);

export function showPicture(image, path) {
	if (!path.startsWith("/pictures/")) return;
	if (!withToken) image.src = address(path);
	else fetched(path).then((found) => (image.src = found), () => image.dispatchEvent(new Event("error")));
}

function fetched(path) {
	if (!pictures.has(path)) {
		pictures.set(path, request(path).then(async (response) => {
			if (response.ok) return URL.createObjectURL(await response.blob());
			pictures.delete(path);
			throw failure("no picture", response.status);
		}));
	}
	return pictures.get(path);
}
