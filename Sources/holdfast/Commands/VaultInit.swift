import ArgumentParser
import Catalog
import Client
import Model
import Platform
import Vault

/// `holdfast vault init`
struct VaultInit: Command {
    static let configuration = CommandConfiguration(
        commandName: "init",
        abstract: "Make a vault, and show its key sheet once.",
        usage: "holdfast vault init [<options>]",
        discussion: """
            Makes an encrypted vault in a directory, which is made too when it is missing, and lets this machine write to it.

            The passphrase opens what the vault holds. It is asked for twice, or read from --passphrase-file. The key sheet is \
            16 words that open the vault when the passphrase is forgotten. It is shown once and kept nowhere: print it or \
            write it down, and keep it away from the vault.

            Examples:
              holdfast vault init --vault /mnt/disk/vault
              holdfast vault init --vault /mnt/disk/vault --passphrase-file /etc/holdfast.passphrase
            """
    )

    @OptionGroup var location: VaultOptions
    @Option(
        help: ArgumentHelp(
            "A file with the passphrase on its first line. (default: HOLDFAST_PASSPHRASE_FILE, else a question)",
            valueName: "file"))
    var passphraseFile: PathArgument?
    @Option(help: ArgumentHelp("What to call the passphrase's key slot.", valueName: "text"))
    var label = "passphrase"
    @Flag(help: "Only a person's passphrase or key sheet will ever open points: no server can show or search them.")
    var ownerOnly = false
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let path = try location.location()
        if ServerAddress.isServer(String(decoding: path, as: UTF8.self)) {
            throw HoldfastError(
                .usage, "A vault is made where it will lie: name a directory.",
                context: ["hint": "On the server: `holdfast server init --vault DIR`."])
        }
        try prepare(path)
        let file = passphraseFile?.bytes ?? System.environment("HOLDFAST_PASSPHRASE_FILE")
        let passphrase = try PassphraseOptions.new(
            file: file, prompt: "Passphrase for the new vault in \(TreePath.display(path))")
        let created = Timestamp(nanoseconds: SystemClock.wall)
        let made = try VaultKeys.makeVault(
            kind: ownerOnly ? .ownerOnly : .serverReadable, secrets: [(.passphrase(passphrase), label)],
            created: created)
        try VaultDirectory.create(
            path: path, config: made.config, files: made.files.map { (KeyFiles.prefix + $0.name, $0.bytes) })

        let session = try VaultSession(console, path: path, takesOver: location.takeOver, isNew: true, global: global)
        let joined = try Enrolment.join(session, keys: made.keys, global: global, name: nil)
        try show(made, path, joined, console)
        return .done
    }

    /// Makes the directory, and refuses one that is in use for something else before anybody types a passphrase.
    private func prepare(_ path: [UInt8]) throws {
        var list = NameList()
        do throws(Errno) {
            try System.makeDirectories(path)
            let directory = try DirectoryPath.open(path)
            var reader = DirectoryReader()
            try list.read(directory.raw, with: &reader)
        } catch {
            throw HoldfastError(
                error.isDenied || error == .readOnly ? .denied : .io,
                "The directory \(TreePath.display(path)) cannot be made: \(error).", cause: error)
        }
        try VaultDirectory.checkIsFree(path: path)
        // What mkfs leaves behind is no use of a disk, and neither are the empty directories of an `init` that was killed.
        let idle = ["lost+found", "keys", "packs", "tmp"].map { Array($0.utf8) }
        if (0..<list.count).allSatisfy({ idle.contains(Array(list.name($0))) }) { return }
        let inside = path.last == UInt8(ascii: "/") ? path : path + [UInt8(ascii: "/")]
        throw HoldfastError(
            .exists,
            "\(TreePath.display(path)) is not empty, and a vault has a directory of its own: backups leave it out. "
                + "Nothing was changed.",
            context: ["hint": "--vault \(TreePath.display(inside))vault makes one in it."])
    }

    private func show(
        _ made: VaultKeys.NewVault, _ path: [UInt8], _ joined: MachineIdentity, _ console: Console
    ) throws {
        var fields: [String: JSON] = [
            "vault": .id(made.keys.vault), "kind": .string(made.keys.config.kind.rawValue), "machine": .id(joined.id),
            "machine_name": .string(joined.name), "key_sheet": .strings(made.keySheet.words),
        ]
        fields.setBytes("location", path)
        try console.emit("vault", fields)

        try console.line("Vault \(made.keys.vault.hex.prefix(8)) is made in \(TreePath.display(path)).")
        try console.line("This machine, \(joined.name), may write to it: `holdfast backup` asks for no passphrase.")
        try console.line()
        try console.line(console.styled("Key sheet of the vault \(made.keys.vault.hex.prefix(8))", .bold))
        try console.line()
        for line in KeySheetPrinter.lines(made.keySheet) { try console.line(line) }
        try console.line()
        try console.line("These words open the vault when the passphrase is lost. They are shown this once and kept")
        try console.line("nowhere. Write them down, keep them away from the vault, and try them now:")
        try console.line("  holdfast vault keys check-sheet --vault \(TreePath.display(path))")
    }
}

/// The words of a key sheet as they are printed: four columns, numbered down.
enum KeySheetPrinter {
    static func lines(_ sheet: KeySheet) -> [String] {
        let words = sheet.words
        let rows = (words.count + 3) / 4
        return (0..<rows).map { row in
            var line = "  "
            for column in 0..<4 where row + column * rows < words.count {
                let index = row + column * rows
                let number = index + 1 < 10 ? " \(index + 1)" : "\(index + 1)"
                let cell = "\(number) \(words[index])"
                line += column < 3 ? cell + String(repeating: " ", count: max(0, 15 - cell.count)) : cell
            }
            return line
        }
    }
}
