/** A log that does nothing, but not at once: whatever is ready to run runs first. */
export const turn = (): Promise<void> => new Promise((resume) => setImmediate(resume))
