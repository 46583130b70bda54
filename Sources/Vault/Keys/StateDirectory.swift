import Glibc
package import Model
import Platform

/// Who this machine is: `machine.json` in the state directory.
package struct MachineIdentity: Hashable, Sendable {
    static let version: Int64 = 1

    package let id: MachineID
    /// What people call it; may change.
    package var name: String

    package init(id: MachineID, name: String) {
        self.id = id
        self.name = name
    }

    func encoded() -> [UInt8] {
        JSONValue.object([
            "id": .string(id.hex), "name": .string(name), "version": .integer(MachineIdentity.version),
        ]).encoded()
    }

    static func decode(_ bytes: [UInt8], document: String) throws -> MachineIdentity {
        let fields = try JSONFields(parsing: bytes, document: document)
        try fields.checkVersion(version)
        let name = try fields.string("name")
        guard name.utf8.count <= MachineRecord.maximumNameLength else { throw fields.wrong("name") }
        return MachineIdentity(id: try fields.identifier("id"), name: name)
    }
}

/// What a machine remembers between runs: who it is, the secrets it writes with, and where its chains end.
///
/// Everything is mode 0600 in directories of mode 0700 and replaced atomically: after a crash at any instant a file is
/// the old one or the new one. Values are safe to use from several threads and processes.
package struct StateDirectory: Sendable {
    /// Longest file that is read, in bytes.
    package static let maximumFileLength = 1 << 20

    /// The directory's path in bytes.
    package let path: [UInt8]

    // MARK: Finding and opening

    /// Where the state is: `explicit` when given, else `HOLDFAST_STATE`, else `/var/lib/holdfast` for root, else
    /// `$XDG_STATE_HOME/holdfast` or `~/.local/state/holdfast`. Throws `usage` when there is no home directory either.
    package static func locate(explicit: [UInt8]? = nil) throws -> [UInt8] {
        try locate(explicit: explicit, isRoot: geteuid() == 0) { name in
            getenv(name).map { Array(UnsafeRawBufferPointer(start: $0, count: strlen($0))) }
        }
    }

    static func locate(
        explicit: [UInt8]?,
        isRoot: Bool,
        environment: (String) -> [UInt8]?
    ) throws -> [UInt8] {
        func set(_ name: String) -> [UInt8]? { environment(name).flatMap { $0.isEmpty ? nil : $0 } }
        if let explicit, !explicit.isEmpty { return explicit }
        if let path = set("HOLDFAST_STATE") { return path }
        if isRoot { return Array("/var/lib/holdfast".utf8) }
        // The XDG specification: a path that is not absolute is ignored.
        if let base = set("XDG_STATE_HOME"), base.first == UInt8(ascii: "/") { return base + Array("/holdfast".utf8) }
        if let home = set("HOME") { return home + Array("/.local/state/holdfast".utf8) }
        throw HoldfastError(
            .usage,
            "There is no place to keep this machine's state: HOME is not set. Set HOLDFAST_STATE to a directory."
        )
    }

    /// Opens the state directory and makes it (mode 0700) when it is not there.
    ///
    /// Throws `denied` when it belongs to somebody else or others may look into it, `io` when it cannot be made.
    package init(path: [UInt8]) throws {
        self.path = StateDirectory.withoutTrailingSlashes(path)
        try makeDirectories()
        let directory = try open()
        removeLeftovers(directory.raw)
        for name in ["vaults", "heads"] {
            let inner = try openDirectory(name, in: directory.raw)
            removeLeftovers(inner.raw)
        }
    }

    /// Opens the state directory when there is one; makes nothing. `nil` when there is none.
    package static func existing(path: [UInt8]) throws -> StateDirectory? {
        do throws(Errno) {
            _ = try FileDescriptor.open(path, [.pathOnly, .followLink])
        } catch {
            if error == .noEntry { return nil }
            throw failure("The state directory cannot be opened", path, error)
        }
        let directory = StateDirectory(checked: path)
        _ = try directory.open()
        return directory
    }

    private init(checked path: [UInt8]) { self.path = StateDirectory.withoutTrailingSlashes(path) }

    private static func withoutTrailingSlashes(_ path: [UInt8]) -> [UInt8] {
        var path = path
        while path.count > 1, path.last == UInt8(ascii: "/") { path.removeLast() }
        return path
    }

    // MARK: What is kept

    /// Who this machine is; `nil` before it joined its first vault.
    package func machine() throws -> MachineIdentity? {
        let directory = try open()
        guard let bytes = try read("machine.json", in: directory.raw) else { return nil }
        return try MachineIdentity.decode(bytes, document: show("machine.json"))
    }

    /// Who this machine is; makes an identity with a random id when there is none. Of several processes that do so at once
    /// one wins and all get the same.
    package func machine(orNamed name: String) throws -> MachineIdentity {
        if let known = try machine() { return known }
        let fresh = MachineIdentity(id: .random(), name: name)
        let directory = try open()
        if try write(fresh.encoded(), to: "machine.json", in: directory.raw, replacing: false) { return fresh }
        guard let winner = try machine() else {
            throw HoldfastError(.io, "\(show("machine.json")) appeared and vanished again.", isTemporary: true)
        }
        return winner
    }

    /// Writes a changed name.
    package func save(_ machine: MachineIdentity) throws {
        let directory = try open()
        try write(machine.encoded(), to: "machine.json", in: directory.raw, replacing: true)
    }

    /// The vaults that this machine joined, sorted.
    package func vaults() throws -> [VaultID] {
        let directory = try open()
        let inner = try openDirectory("vaults", in: directory.raw)
        var found: [VaultID] = []
        var reader = DirectoryReader()
        do {
            try reader.forEach(in: inner.raw) { name in
                let text = String(decoding: name.bytes, as: UTF8.self)
                if text.hasSuffix(".json"), let id = VaultID(hex: text.dropLast(5)) { found.append(id) }
            }
        } catch {
            throw StateDirectory.failure("The state directory cannot be listed", path, error)
        }
        return found.sorted()
    }

    /// What this machine writes to a vault with; `nil` when it did not join it.
    package func writerSecrets(of vault: VaultID) throws -> WriterSecrets? {
        try load("vaults", vault) { bytes, document in
            let secrets = try WriterSecrets.decode(bytes, document: document)
            guard secrets.vault == vault else {
                throw HoldfastError(.damaged, "\(document) is of another vault: it was renamed or copied.")
            }
            return secrets
        }
    }

    /// Keeps what this machine writes to a vault with.
    package func save(_ secrets: WriterSecrets) throws { try store(secrets.encoded(), "vaults", secrets.vault) }

    /// Where this machine's chain in a vault ended when it last wrote to it; `nil` when it never did.
    package func head(in vault: VaultID) throws -> MachineHead? { try load("heads", vault, MachineHead.decode) }

    /// Keeps the end of the chain. To be written only after the vault has acknowledged the point.
    package func save(_ head: MachineHead, in vault: VaultID) throws { try store(head.encoded(), "heads", vault) }

    /// The head that the last commit was to make; `nil` before the first. See `HeadMemory`.
    package func expectedHead(in vault: VaultID) throws -> MachineHead? {
        try load("heads", vault, suffix: ".next.json", MachineHead.decode)
    }

    /// Keeps the head that a commit is about to make.
    package func expect(_ head: MachineHead, in vault: VaultID) throws {
        try store(head.encoded(), "heads", vault, suffix: ".next.json")
    }

    /// Runs `body` while no other process changes the head of the vault.
    func withHeadLock<R>(_ vault: VaultID, _ body: () throws -> R) throws -> R {
        let name = "heads/\(vault.hex).lock"
        let lock: FileLock
        do throws(Errno) {
            lock = try FileLock.wait(
                for: FileDescriptor.open(path(of: name), [.readWrite, .create], mode: 0o600))
        } catch {
            throw StateDirectory.failure("A file of the state directory cannot be locked", path(of: name), error)
        }
        do {
            let result = try body()
            lock.release()
            return result
        } catch {
            lock.release()
            throw error
        }
    }

    /// Forgets a vault: secrets and head. What was forgotten already is not missed.
    package func forget(_ vault: VaultID) throws {
        let directory = try open()
        for folder in ["heads", "vaults"] {
            let inner = try openDirectory(folder, in: directory.raw)
            for suffix in [".json", ".next.json", ".lock"] {
                do throws(Errno) {
                    try FileSystem.remove(at: inner.raw, vault.hex + suffix)
                    try inner.sync()
                } catch {
                    if error != .noEntry { throw StateDirectory.failure("The file cannot be removed", path, error) }
                }
            }
        }
    }

    /// The path of a directory (mode 0700) for what can be lost without harm, such as the writer's cache of a vault.
    package func cacheDirectory(of vault: VaultID) throws -> [UInt8] {
        let directory = try open()
        let cache = try openDirectory("cache", in: directory.raw)
        let own = try openDirectory(vault.hex, in: cache.raw)
        // What a killed backup of other paths had begun; one that runs writes to its own all the time.
        removeLeftovers(own.raw, prefix: ".", seconds: 7 * 86_400)
        return path + Array("/cache/\(vault.hex)".utf8)
    }

    /// The path of a directory (mode 0700) for versions on their way to a vault, and for the local history.
    package func spoolDirectory(of vault: VaultID) throws -> [UInt8] {
        let directory = try open()
        let spool = try openDirectory("spool", in: directory.raw)
        _ = try openDirectory(vault.hex, in: spool.raw)
        return path + Array("/spool/\(vault.hex)".utf8)
    }

    /// A document that another part of the program keeps here; `nil` when there is none. Names are plain file names.
    package func document(
        _ name: String, in folder: String, atMost limit: Int = StateDirectory.maximumFileLength
    ) throws -> [UInt8]? {
        let directory = try open()
        let inner = try openDirectory(folder, in: directory.raw)
        return try read(name, in: inner.raw, atMost: limit)
    }

    /// The names of the documents in a folder, sorted.
    package func documents(in folder: String) throws -> [String] {
        let directory = try open()
        let inner = try openDirectory(folder, in: directory.raw)
        var found: [String] = []
        var reader = DirectoryReader()
        do {
            try reader.forEach(in: inner.raw) { name in
                let text = String(decoding: name.bytes, as: UTF8.self)
                if text.hasSuffix(".json"), !text.hasPrefix(".") { found.append(text) }
            }
        } catch {
            throw StateDirectory.failure("The state directory cannot be listed", path, error)
        }
        return found.sorted()
    }

    /// Keeps a document. After a crash it is the old one or the new one. With `replacing` false one that is there stays, and
    /// the answer is `false`.
    @discardableResult
    package func keep(_ bytes: [UInt8], as name: String, in folder: String, replacing: Bool = true) throws -> Bool {
        let directory = try open()
        let inner = try openDirectory(folder, in: directory.raw)
        return try write(bytes, to: name, in: inner.raw, replacing: replacing)
    }

    private func load<Value>(
        _ folder: String,
        _ vault: VaultID,
        suffix: String = ".json",
        _ decode: ([UInt8], String) throws -> Value
    ) throws -> Value? {
        let directory = try open()
        let inner = try openDirectory(folder, in: directory.raw)
        let name = vault.hex + suffix
        guard let bytes = try read(name, in: inner.raw) else { return nil }
        return try decode(bytes, show("\(folder)/\(name)"))
    }

    private func store(_ bytes: [UInt8], _ folder: String, _ vault: VaultID, suffix: String = ".json") throws {
        let directory = try open()
        let inner = try openDirectory(folder, in: directory.raw)
        try write(bytes, to: vault.hex + suffix, in: inner.raw, replacing: true)
    }

    // MARK: Directories

    /// Makes the directory and what is missing above it.
    private func makeDirectories() throws {
        let slash = UInt8(ascii: "/")
        var ends = path.indices.dropFirst().filter { path[$0] == slash && path[$0 - 1] != slash }
        ends.append(path.count)
        for end in ends {
            let part = Array(path[..<end])
            do throws(Errno) {
                try withCName(part) { (name) throws(Errno) in
                    try FileSystem.makeDirectory(at: FileSystem.currentDirectory, name)
                }
            } catch {
                // What is there already may also answer that it lies on a read-only file system or cannot be written to.
                if StateDirectory.isDirectory(part) { continue }
                throw StateDirectory.failure("The state directory cannot be made", path, error)
            }
        }
    }

    private static func isDirectory(_ path: [UInt8]) -> Bool {
        do throws(Errno) {
            return try FileDescriptor.open(path, [.pathOnly, .followLink]).status().kind == .directory
        } catch { return false }
    }

    /// The directory itself, checked.
    private func open() throws -> FileDescriptor {
        do {
            let directory = try FileDescriptor.open(path, [.readOnly, .directory, .followLink])
            try StateDirectory.check(try directory.status(), path, "chmod 700")
            return directory
        } catch let error as Errno {
            throw StateDirectory.failure("The state directory cannot be opened", path, error)
        }
    }

    /// A directory inside, made when it is missing.
    private func openDirectory(_ name: String, in directory: Int32) throws -> FileDescriptor {
        do throws(Errno) {
            do throws(Errno) { try FileSystem.makeDirectory(at: directory, name) } catch {
                // Whether the others are true shows when it is opened.
                if ![.exists, .readOnly, .accessDenied].contains(error) { throw error }
            }
            return try FileDescriptor.open(at: directory, name, [.readOnly, .directory])
        } catch {
            throw StateDirectory.failure("The state directory cannot be used", path + Array("/\(name)".utf8), error)
        }
    }

    // MARK: Files

    /// The bytes of a file; `nil` when there is none. One that others can read, or that others own, is refused: secrets in
    /// it are no secrets, and what it says may come from anybody.
    private func read(
        _ name: String, in directory: Int32, atMost limit: Int = StateDirectory.maximumFileLength
    ) throws -> [UInt8]? {
        do {
            let file = try FileDescriptor.open(at: directory, name, [.readOnly, .nonBlocking])
            let status = try file.status()
            guard status.kind == .regular else {
                throw HoldfastError(.denied, "\(show(name)) is not a file.", context: ["path": show(name)])
            }
            try StateDirectory.check(status, path(of: name), "chmod 600")
            return try file.readAll(limit: limit)
        } catch let error as Errno {
            if error == .noEntry { return nil }
            throw StateDirectory.failure("A file of the state directory cannot be read", path(of: name), error)
        }
    }

    /// Writes a file so that after a crash it is the old one or the new one. `false` when there is one already and it is not
    /// to be replaced.
    @discardableResult
    private func write(_ bytes: [UInt8], to name: String, in directory: Int32, replacing: Bool) throws -> Bool {
        let temporary = StateDirectory.temporaryPrefix + Hex.encode(KeyCrypto.random(8))
        do throws(Errno) {
            let file = try FileDescriptor.open(at: directory, temporary, [.writeOnly, .create, .exclusive])
            do throws(Errno) {
                // The umask may have taken bits away that the owner needs.
                try FileSystem.setMode(descriptor: file.raw, 0o600)
                try file.writeAll(bytes)
                try file.sync()
                try file.close()
                if replacing {
                    try FileSystem.rename(at: directory, temporary, to: directory, name)
                } else {
                    try FileSystem.link(at: directory, temporary, to: directory, name)
                    try? FileSystem.remove(at: directory, temporary)
                }
            } catch {
                try? FileSystem.remove(at: directory, temporary)
                if error == .exists && !replacing { return false }
                throw error
            }
            try StateDirectory.sync(directory)
            return true
        } catch {
            throw StateDirectory.failure("The state directory cannot be written to", path(of: name), error)
        }
    }

    private static let temporaryPrefix = ".new-"

    /// Removes temporary files that a killed process left a day ago or earlier.
    private func removeLeftovers(
        _ directory: Int32, prefix: String = StateDirectory.temporaryPrefix, seconds: Int64 = 86_400
    ) {
        var reader = DirectoryReader()
        var leftovers: [[UInt8]] = []
        try? reader.forEach(in: directory) { name in
            if name.bytes.starts(with: prefix.utf8) { leftovers.append(Array(name.bytes)) }
        }
        for name in leftovers {
            guard let status = try? FileSystem.status(at: directory, name),
                status.kind == .regular, status.modified.seconds < Int64(time(nil)) - seconds
            else { continue }
            _ = try? withCName(name) { (pointer) throws(Errno) in try FileSystem.remove(at: directory, pointer) }
        }
    }

    private static func sync(_ directory: Int32) throws(Errno) {
        guard fsync(directory) == 0 else { throw Errno(code: errno) }
    }

    // MARK: Complaints

    private static func check(_ status: FileStatus, _ path: [UInt8], _ remedy: String) throws {
        let shown = TreePath.display(path)
        if status.uid != geteuid() {
            throw HoldfastError(
                .denied,
                "\(shown) belongs to another user (uid \(status.uid)) and not to you (uid \(geteuid())). Run holdfast as its "
                    + "owner, or name another directory with HOLDFAST_STATE.",
                context: ["path": shown]
            )
        }
        if status.mode & 0o077 != 0 {
            throw HoldfastError(
                .denied,
                "\(shown) is open to other users (mode \(String(status.mode & 0o7777, radix: 8))), and it holds secrets. "
                    + "Run: \(remedy) \(shown)",
                context: ["path": shown]
            )
        }
    }

    private static func failure(_ what: String, _ path: [UInt8], _ cause: any Error) -> HoldfastError {
        let errno = cause as? Errno
        let code: HoldfastError.Code =
            errno?.isDenied == true ? .denied : errno?.isNoSpace == true ? .noSpace : .io
        let shown = TreePath.display(path)
        return HoldfastError(code, "\(what): \(shown): \(cause).", context: ["path": shown], cause: cause)
    }

    private func path(of name: String) -> [UInt8] { path + Array("/\(name)".utf8) }

    private func show(_ name: String) -> String { TreePath.display(path(of: name)) }
}
