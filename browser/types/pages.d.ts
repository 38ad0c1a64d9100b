/** What the pages find in the window: PouchDB, by a script of its own. */
declare var PouchDB: any;
