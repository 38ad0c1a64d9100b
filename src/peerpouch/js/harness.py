"""What surrounds a design document's function in its QuickJS context.

Values cross as JSON text, because QuickJS refuses Python callables while a time limit is set: so ``emit`` collects in
JavaScript, and each call gives everything at once. (CouchDB documentation, "Query Server", for what functions find:
``emit``, ``sum``, ``isArray``, ``toJSON``, ``log``, and ``require`` for CommonJS modules in the design document.)
"""

from __future__ import annotations

from typing import Final

HARNESS: Final = r"""
(function () {
  "use strict";
  const parse = JSON.parse, stringify = JSON.stringify, list = Array.isArray, text = String;
  const Limit = InternalError;
  let rows = null;
  // The binding can't take the ropes that QuickJS makes of long texts when they are added.
  const join = Array.prototype.join, push = Array.prototype.push, apply = Reflect.apply;
  const flat = (...parts) => apply(join, parts, [""]);
  const define = (name, value) => Object.defineProperty(globalThis, name, {value, writable: true, configurable: true});
  define("emit", function (key, value) {
    if (rows === null) { throw new Error("emit belongs to map functions"); }
    // Written down at once: the function may go on to change what it emitted.
    apply(push, rows, ["[" + (stringify(key) ?? "null") + "," + (stringify(value) ?? "null") + "]"]);
  });
  define("sum", (values) => values.reduce((total, value) => total + value, 0));
  define("isArray", list);
  define("toJSON", stringify);
  define("log", () => undefined);

  const failure = (error) => {
    // Out of memory; with too little left for an error object, QuickJS throws null.
    if (error === null || error instanceof Limit) { return stringify({limit: text(error && error.message)}); }
    if (typeof error === "object") {
      for (const kind of ["forbidden", "unauthorized"]) {
        if (kind in error) { return stringify({[kind]: text(error[kind])}); }
      }
    }
    let reason;
    try {
      reason = text(error !== undefined && error.message !== undefined ? error.message : error);
    } catch {
      reason = "unknown";
    }
    return stringify({error: reason});
  };

  // CommonJS modules are texts in the design document, named by the path to them; `this` is the document itself.
  const find = (path, from) => {
    const names = path.split("/"), at = path.startsWith(".") ? from.slice(0, -1) : [];
    for (const name of names) {
      if (name === "..") {
        if (at.length === 0) { throw new Error("require: " + path + " leads out of the design document"); }
        at.pop();
      } else if (name !== "." && name !== "") { at.push(name); }
    }
    return at;
  };
  const makeRequire = (root, loaded, from) => function (path) {
    const names = find(text(path), from), key = apply(join, names, ["/"]);
    if (loaded.has(key)) { return loaded.get(key).exports; }
    let source = root;
    for (const name of names) {
      source = source !== null && typeof source === "object" && Object.hasOwn(source, name) ? source[name] : undefined;
    }
    if (typeof source !== "string") { throw new Error("require: there is no module " + key); }
    const module = {id: key, exports: {}};
    loaded.set(key, module);  // before it runs: modules may require each other
    (0, eval)("(function (module, exports, require) {" + source + "\n})")(
      module, module.exports, makeRequire(root, loaded, names)
    );
    return module.exports;
  };

  return function (compile, design) {
    const root = design === "" ? null : parse(design);
    if (root !== null) { define("require", makeRequire(root, new Map(), [])); }
    const compiled = compile();
    if (typeof compiled !== "function") { throw new TypeError("it is not a function"); }
    return {
      map: function (doc) {
        rows = [];
        try {
          compiled(parse(doc));
          return flat('{"rows":[', apply(join, rows, [","]), "]}");
        } catch (error) {
          return failure(error);
        } finally {
          rows = null;
        }
      },
      call: function (args) {
        try {
          return flat('{"result":', stringify(apply(compiled, root, parse(args))) ?? "null", "}");
        } catch (error) {
          return failure(error);
        }
      },
    };
  };
})()
"""
