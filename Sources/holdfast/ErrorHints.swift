import Model

/// What to do next, by kind of failure. The message says what happened; a hint is added where the kind alone tells more.
enum ErrorHints {
    /// One sentence, or `nil` when the message says it all.
    static func hint(for error: HoldfastError) -> String? {
        if let hint = error.context["hint"] { return hint }
        switch error.code {
        case .wrongKey:
            return "Check the passphrase, or use the words of the key sheet with --key-sheet."
        case .keyNeeded:
            return "Run at a terminal, or give --passphrase-file FILE or HOLDFAST_PASSPHRASE_FILE."
        case .damaged:
            return
                "`holdfast vault verify` lists what is damaged; the next backup stores again what the machine still has."
        case .noSpace:
            return "`holdfast vault reclaim` frees what no point needs any more."
        case .denied:
            return "Run as root to reach what belongs to other users."
        case .busy:
            return "Wait until the other one has ended, or see who it is in the message."
        case .unsupported:
            return "Install a newer holdfast."
        case .internalError:
            return "This is a fault of holdfast. Please report it with the command line and this message."
        default:
            return nil
        }
    }
}
