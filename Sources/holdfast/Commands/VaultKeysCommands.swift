import ArgumentParser
import Client
import Model
import Vault

/// `holdfast vault keys`
struct VaultKeysGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys",
        abstract: "Passphrases and key sheets that open the vault.",
        discussion: """
            Each key slot holds the vault's master secret, wrapped. Adding or removing one touches no data, and does not take \
            back what somebody copied.
            """,
        subcommands: [VaultKeysList.self, VaultKeysAdd.self, VaultKeysRemove.self, VaultKeysCheckSheet.self],
        defaultSubcommand: VaultKeysList.self
    )
}

/// `holdfast vault keys list`
struct VaultKeysList: Command {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the key slots.", usage: "holdfast vault keys [<options>]")

    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let material = try session.administration().keyMaterial()
        let files = try KeyFiles(files: material.files)
        var table = Table(("slot", .right), ("kind", .left), ("made", .left), ("label", .left))
        for slot in files.slots {
            try console.emit("key_slot", slot.fields)
            table.add(
                String(slot.number), slot.kind.title, TimeText.local(slot.created, in: console.zone),
                TreePath.display(slot.label.utf8))
        }
        try console.table(table)
        for file in files.unreadable {
            console.warn("keys/\(TreePath.display(file.name.utf8)) cannot be used: \(file.error.message)")
        }
        return .done
    }
}

/// `holdfast vault keys add`
struct VaultKeysAdd: Command {
    static let configuration = CommandConfiguration(
        commandName: "add",
        abstract: "Add a passphrase or a key sheet.",
        usage: "holdfast vault keys add [<options>]",
        discussion: """
            Opens the vault with what you have, then asks for the new passphrase twice, or makes a new key sheet and shows it once.

            Examples:
              holdfast vault keys add --label ann
              holdfast vault keys add --sheet
              holdfast vault keys add --key-sheet - --label "after the old one was forgotten"
            """
    )

    @Flag(help: "Make a new key sheet instead of a passphrase.")
    var sheet = false
    @Option(help: ArgumentHelp("What to call the new slot.", valueName: "text"))
    var label: String?
    @Option(help: ArgumentHelp("A file with the new passphrase. (default: a question)", valueName: "file"))
    var newPassphraseFile: PathArgument?
    @OptionGroup var location: VaultOptions
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if sheet, newPassphraseFile != nil { throw ValidationError("Either --sheet or --new-passphrase-file.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let keys = try session.keys(passphrase)
        let words = sheet ? KeySheet.random() : nil
        let secret: UnlockSecret =
            if let words {
                .keySheet(words)
            } else {
                .passphrase(try PassphraseOptions.new(file: newPassphraseFile?.bytes, prompt: "New passphrase"))
            }
        let name = label ?? (sheet ? "key sheet" : "passphrase")
        let slot = try keys.addSlot(secret, label: name, created: session.now)
        guard try session.administration().add(slot) else {
            throw HoldfastError(.busy, "Somebody else has just added key slot \(slot.number). Run the command again.")
        }
        var fields = slot.fields
        if let words { fields["key_sheet"] = .strings(words.words) }
        try console.emit("key_slot", fields)
        try console.line("Key slot \(slot.number), a \(slot.kind.title), is added.")
        if let words {
            try console.line()
            for line in KeySheetPrinter.lines(words) { try console.line(line) }
            try console.line()
            try console.line("These words are shown this once. Write them down and keep them away from the vault.")
        }
        return .done
    }
}

/// `holdfast vault keys remove`
struct VaultKeysRemove: Command {
    static let configuration = CommandConfiguration(
        commandName: "remove",
        abstract: "Remove a key slot.",
        usage: "holdfast vault keys remove <slot> [<options>]",
        discussion: """
            The vault must be opened with another key than the one that is removed, so it is never left without one that works.

            Example:
              holdfast vault keys remove 2
            """
    )

    @Argument(help: ArgumentHelp("The number of the slot.", valueName: "slot"))
    var slot: Int
    @OptionGroup var location: VaultOptions
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let found = try session.keys(passphrase).slotToRemove(number: slot)
        try session.administration().remove(found)
        try console.emit("key_slot_removed", found.fields)
        try console.line("Key slot \(found.number), a \(found.kind.title), is removed.")
        return .done
    }
}

/// `holdfast vault keys check-sheet`
struct VaultKeysCheckSheet: Command {
    static let configuration = CommandConfiguration(
        commandName: "check-sheet",
        abstract: "Try the words of a key sheet, before they are needed.",
        usage: "holdfast vault keys check-sheet [<file>] [<options>]",
        discussion: """
            Asks for the words, or reads them from a file. A word that is wrong is named. Changes nothing.

            Example:
              holdfast vault keys check-sheet
            """
    )

    @Argument(help: ArgumentHelp("A file with the words. (default: a question)", valueName: "file"))
    var file: PathArgument?
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let sheet = try PassphraseOptions.keySheet(file ?? PathArgument(bytes: [UInt8(ascii: "-")]))
        let material = try session.administration().keyMaterial()
        let slots = try VaultKeys.slotsOpened(by: .keySheet(sheet), config: material.config, files: material.files)
        guard let slot = slots.first else {
            throw HoldfastError(
                .wrongKey, "The words are those of a key sheet, but not of one that opens this vault.",
                context: [
                    "hint": "Is it the sheet of another vault? `holdfast vault keys list` shows when sheets were made."
                ])
        }
        try console.emit("key_slot", slot.fields)
        try console.line("The key sheet is right: it opens key slot \(slot.number).")
        return .done
    }
}

extension KeySlot {
    fileprivate var fields: [String: JSON] {
        [
            "slot": .count(number), "kind": .string(kind.rawValue), "label": .string(label), "created": .time(created),
        ]
    }
}
