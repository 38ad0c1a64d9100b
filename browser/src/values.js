/** What a value is. */

/** Whether it is what JSON calls an object. @param {unknown} value @returns {value is Record<string, any>} */
export const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
