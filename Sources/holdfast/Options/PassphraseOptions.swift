import ArgumentParser
import Model
import Platform
import Vault

/// Where the passphrase comes from, for commands that open what a vault holds. Never an argument: arguments stand in the
/// list of processes for everybody.
struct PassphraseOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A file with the passphrase on its first line. (default: the environment's HOLDFAST_PASSPHRASE_FILE, else "
                + "a question at the terminal)", valueName: "file"))
    var passphraseFile: PathArgument?

    @Option(
        help: ArgumentHelp(
            "Open the vault with the words of its key sheet: a file with them, or - to be asked.", valueName: "file"))
    var keySheet: PathArgument?

    /// What opens the vault, from the first source that was given.
    func secret(_ console: Console, vault: String) throws -> UnlockSecret {
        if let keySheet { return .keySheet(try PassphraseOptions.keySheet(keySheet)) }
        if let file = file { return .passphrase(try PassphraseOptions.passphrase(inFile: file)) }
        return .passphrase(try PassphraseOptions.ask("Passphrase of the vault \(vault): "))
    }

    /// The file that was named by the option or the environment.
    var file: [UInt8]? { passphraseFile?.bytes ?? System.environment("HOLDFAST_PASSPHRASE_FILE") }

    /// A passphrase for something new: from the file, or typed twice.
    static func new(file: [UInt8]?, prompt: String) throws -> Passphrase {
        if let file { return try passphrase(inFile: file) }
        var first = try ask(bytesFor: "\(prompt): ")
        var second = try ask(bytesFor: "The same once more: ")
        defer {
            Terminal.erase(&first)
            Terminal.erase(&second)
        }
        guard first == second else {
            throw HoldfastError(.usage, "The two passphrases are not the same. Nothing was changed.")
        }
        return try Passphrase(first)
    }

    static func passphrase(inFile path: [UInt8]) throws -> Passphrase {
        var bytes = try read(path, what: "passphrase file")
        defer { Terminal.erase(&bytes) }
        let line = bytes.firstIndex(of: UInt8(ascii: "\n")).map { Array(bytes[..<$0]) } ?? bytes
        do {
            return try Passphrase(line)
        } catch let error as HoldfastError {
            throw HoldfastError(error.code, "\(TreePath.display(path)): \(error.message)", context: error.context)
        }
    }

    /// The first line of a file that holds a secret.
    static func firstLine(of path: [UInt8], what: String) throws -> String {
        String(decoding: try read(path, what: what).prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }

    static func keySheet(_ file: PathArgument) throws -> KeySheet {
        if file.bytes == [UInt8(ascii: "-")] {
            var typed = try ask(bytesFor: "Words of the key sheet: ", what: "The words of the key sheet are")
            defer { Terminal.erase(&typed) }
            return try KeySheet(text: String(decoding: typed, as: UTF8.self))
        }
        return try KeySheet(text: String(decoding: try read(file.bytes, what: "key sheet"), as: UTF8.self))
    }

    private static func ask(_ prompt: String) throws -> Passphrase {
        var typed = try ask(bytesFor: prompt)
        defer { Terminal.erase(&typed) }
        return try Passphrase(typed)
    }

    static func ask(bytesFor prompt: String, what: String = "A passphrase is") throws -> [UInt8] {
        do {
            return try Terminal.readPassphrase(prompt: prompt)
        } catch {
            if let signal = Signals.received { throw Interrupted(signal: signal) }
            throw HoldfastError(
                .keyNeeded, "\(what) needed, and there is no terminal to ask for it.", cause: error)
        }
    }

    static func read(_ path: [UInt8], what: String) throws -> [UInt8] {
        do {
            let file = try DirectoryPath.openFile(path, [.readOnly, .followLink])
            return try file.readAll(limit: 64 << 10)
        } catch {
            throw HoldfastError(
                error.isGone ? .notFound : .denied,
                "The \(what) \(TreePath.display(path)) cannot be read: \(error).", cause: error)
        }
    }
}
