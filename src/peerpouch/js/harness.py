"""What surrounds a design document's function in its QuickJS context.

Values cross as JSON text, because QuickJS refuses Python callables while a time limit is set: so ``emit`` collects in
JavaScript, and each call gives everything at once. (CouchDB documentation, "Query Server", for what functions find:
``emit``, ``sum``, ``isArray``, ``toJSON``, ``log``.)
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

  return function (compiled) {
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
          return flat('{"result":', stringify(apply(compiled, null, parse(args))) ?? "null", "}");
        } catch (error) {
          return failure(error);
        }
      },
    };
  };
})()
"""
