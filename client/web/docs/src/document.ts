/** The server's OpenAPI document, prepared for this page. */

interface Operation {
  description?: string;
  security?: readonly Readonly<Record<string, readonly string[]>>[];
}

export interface ApiDocument {
  servers?: { url: string }[];
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { securitySchemes?: Record<string, unknown> };
}

const KEY = "key";

/**
 * The document with this server's address, and with one place to type a key in: the document has a scheme for each scope,
 * but a key has all its scopes at once. Each call says which scope it needs.
 */
export function forThisServer(api: ApiDocument, server: URL): ApiDocument {
  api.servers = [{ url: server.pathname.replace(/\/$/, "") || "/" }];
  for (const path of Object.values(api.paths)) {
    for (const operation of Object.values(path)) {
      const scopes = (operation.security ?? []).flatMap(Object.keys);
      if (scopes.length === 0) continue;
      const needed = `Once the server has keys, this call needs one with the scope **${scopes.join("** or **")}**.`;
      operation.description = [operation.description, needed].filter(Boolean).join("\n\n");
      operation.security = [{ [KEY]: [] }];
    }
  }
  api.components.securitySchemes = {
    [KEY]: { type: "http", scheme: "bearer", description: "A key of this server (`ask_…`), made with `askew key create`." },
  };
  return api;
}
