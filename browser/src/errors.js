/**
 * What can go wrong, with the names that the Python side and CouchDB use.
 *
 * Every error has `status` (HTTP's), `error` (the name that goes over the wire) and `reason` (for people), as PouchDB's
 * errors do.
 */

/** The name of each error and its HTTP status: the table of docs/reference/errors.md. */
export const STATUS = Object.freeze({
  internal_server_error: 500,
  bad_request: 400,
  doc_validation: 400,
  illegal_docid: 400,
  illegal_database_name: 400,
  invalid_selector: 400,
  invalid_operator: 400,
  bad_arg: 400,
  no_usable_index: 400,
  invalid_bookmark: 400,
  query_parse_error: 400,
  content_md5_mismatch: 400,
  invalid_json: 400,
  unauthorized: 401,
  forbidden: 403,
  identity_changed: 403,
  not_found: 404,
  no_db_file: 404,
  share_not_found: 404,
  method_not_allowed: 405,
  not_acceptable: 406,
  timeout: 408,
  conflict: 409,
  precondition_failed: 412,
  file_exists: 412,
  missing_stub: 412,
  too_large: 413,
  document_too_large: 413,
  bad_content_type: 415,
  requested_range_not_satisfiable: 416,
  too_many_requests: 429,
  not_implemented: 501,
  storage_error: 500,
  not_a_database: 500,
  schema_too_new: 500,
  corrupt_database: 500,
  insufficient_storage: 507,
  read_only: 500,
  database_busy: 503,
  database_closed: 503,
  connection_failed: 503,
  peer_unreachable: 503,
  hub_unreachable: 503,
  invalid_identity: 500,
  invalid_signal: 400,
  clock_skew: 400,
  protocol_error: 502,
  replication_failed: 500,
});

export class PeerPouchError extends Error {
  /**
   * @param {string} error One of the names of {@link STATUS}, or any other that came from elsewhere.
   * @param {string} reason What happened, to what, and what to do.
   * @param {{status?: number, cause?: unknown}} [options]
   */
  constructor(error, reason, { status, cause } = {}) {
    super(reason, { cause });
    this.name = error;
    this.error = error;
    this.reason = reason;
    this.status = status ?? /** @type {Record<string, number>} */ (STATUS)[error] ?? 500;
  }

  toJSON() {
    return { error: this.error, reason: this.reason, status: this.status };
  }
}
