// Calls to the API of this very server.

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

async function call(method, path) {
  const response = await fetch(path, { method, headers: { Accept: "application/json" }, credentials: "same-origin" });
  const body = await response.json().catch(() => null);
  if (!response.ok && !(body && body.checks)) {
    const error = body?.error ?? { code: "internal", message: response.statusText || `HTTP ${response.status}` };
    throw new ApiError(response.status, error.code, error.message);
  }
  return body;
}

export const get = (path) => call("GET", path);
export const post = (path) => call("POST", path);
export const taskPath = (id) => `/api/tasks/${encodeURIComponent(id)}`;
