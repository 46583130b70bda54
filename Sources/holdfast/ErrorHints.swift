import Model
import Platform

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
            // A file that opens the vault: nothing that is stored is lost with it, and no backup makes it anew.
            if ["config.json", "keys/", "key slot", "key file"].contains(where: { error.message.contains($0) }) {
                return
                    "Put that file back from a copy of the vault; what is stored in the vault is not touched by this."
            }
            return
                "`holdfast vault verify` lists what is damaged; the next backup stores again what the machine still has."
        case .noSpace:
            guard isOfVault(error) else { return "Make room on that file system and run the same command again." }
            return "`holdfast vault reclaim` frees what no point needs any more."
        case .denied:
            if error.cause as? Errno == .readOnly {
                return "Mount it for writing; the system itself mounts a disk read-only after errors (`dmesg`)."
            }
            return System.isRoot ? nil : "Run as root to reach what belongs to other users."
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

    /// Whether it was the vault where there was no room, not the place of a restore or of the machine's state.
    private static func isOfVault(_ error: HoldfastError) -> Bool {
        error.context["vault"] != nil || error.message.contains("the vault's catalog")
    }
}
