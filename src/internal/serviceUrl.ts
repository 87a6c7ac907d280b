/**
 * What the URL of a log says.
 */

const local = /\/\/(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:|\/|$)/i

/** Whether it leads nowhere but to this machine. */
export const isLocal = (serviceUrl: string): boolean => local.test(serviceUrl)
