/// What the program tells whoever called it.
enum ExitStatus: Int32, Sendable {
    /// Everything was done.
    case done = 0
    /// The command failed, or was stopped.
    case failed = 1
    /// The command line makes no sense.
    case usage = 2
    /// Done, but not everything as it should be: something could not be read, kept or restored.
    case warnings = 3
    /// Stopped by a signal at a question, before anything was done: 128 and its number, as shells say it.
    case hungUp = 129
    case interrupted = 130
    case terminated = 143
}
