import Glibc
import Model
import Platform
import Vault

/// A directory for a catalog of this process's own: for a vault that it can only read, on a medium that is write-protected
/// or full. Begins with a copy of the vault's catalog when there is one, and is removed at the end.
final class PrivateCatalog: HeldRole {
    let path: [UInt8]
    private static let names = [
        VaultDirectory.catalogName, VaultDirectory.catalogName + "-wal", VaultDirectory.catalogName + "-journal",
        VaultDirectory.witnessName,
    ]

    /// - Parameter vault: the vault's directory.
    /// - Throws: `noSpace` or `io` when the copy cannot be made below `TMPDIR`.
    init(of vault: [UInt8]) throws {
        let base = getenv("TMPDIR").map { Array(UnsafeRawBufferPointer(start: $0, count: strlen($0))) } ?? []
        var template = (base.isEmpty ? Array("/tmp".utf8) : base) + Array("/holdfast-reading-\(getpid())-XXXXXX\0".utf8)
        // Made with mode 0700.
        let isMade = template.withUnsafeMutableBytes { buffer in
            guard let base = buffer.baseAddress else { return false }
            return mkdtemp(base.assumingMemoryBound(to: CChar.self)) != nil
        }
        path = Array(template.dropLast())
        guard isMade else { throw PrivateCatalog.failure(Errno(code: errno), path) }
        do throws(Errno) {
            let from = try FileDescriptor.open(vault, [.readOnly, .directory, .followLink])
            let to = try FileDescriptor.open(path, [.readOnly, .directory])
            try PrivateCatalog.copyAll(from: from.raw, to: to.raw)
        } catch {
            remove()
            throw PrivateCatalog.failure(error, path)
        }
    }

    deinit { remove() }

    private func remove() {
        guard let folder = try? FileDescriptor.open(path, [.readOnly, .directory]) else { return }
        for name in PrivateCatalog.names { try? FileSystem.remove(at: folder.raw, name) }
        for name in [VaultDirectory.catalogName, VaultDirectory.catalogName + ".new"] {
            for end in ["", "-wal", "-shm", "-journal"] { try? FileSystem.remove(at: folder.raw, name + end) }
        }
        _ = try? withCName(path) { (pointer) throws(Errno) in
            try FileSystem.removeDirectory(at: FileSystem.currentDirectory, pointer)
        }
    }

    private static func failure(_ error: Errno, _ path: [UInt8]) -> HoldfastError {
        HoldfastError(
            error.isNoSpace ? .noSpace : .io,
            "a copy of the vault's catalog cannot be made in \(TreePath.display(path)): \(error)",
            context: ["hint": "Name a directory with more room in TMPDIR."], cause: error)
    }

    // MARK: Copying

    /// Copies the catalog's files. Another process may be writing to them: a copy counts only when none changed meanwhile.
    /// Without a copy (it cannot be read, or never stands still) the catalog is made from the packs.
    private static func copyAll(from: Int32, to: Int32) throws(Errno) {
        for _ in 0..<5 {
            let before = stamps(from)
            var isCopied = true
            for name in names where isCopied { isCopied = try copy(name, from: from, to: to) }
            if isCopied, stamps(from) == before { return }
        }
        for name in names { try? FileSystem.remove(at: to, name) }
    }

    private struct Stamp: Equatable {
        var size: UInt64
        var modified: FileInstant
    }

    private static func stamps(_ folder: Int32) -> [Stamp?] {
        names.map { name in
            (try? FileSystem.statusIfAny(at: folder, name)).flatMap { $0 }.map {
                Stamp(size: $0.size, modified: $0.modified)
            }
        }
    }

    /// Copies a file; one that is missing is removed from the copy. `false` when it cannot be read.
    private static func copy(_ name: String, from: Int32, to: Int32) throws(Errno) -> Bool {
        let source: FileDescriptor
        do throws(Errno) {
            source = try FileDescriptor.open(at: from, name, [.readOnly])
        } catch {
            try? FileSystem.remove(at: to, name)
            return error == .noEntry
        }
        let target = try FileDescriptor.open(at: to, name, [.writeOnly, .create, .truncate], mode: 0o600)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4_096)
        defer { buffer.deallocate() }
        while true {
            let count: Int
            do throws(Errno) { count = try source.readFully(into: buffer) } catch {
                // A bad sector in the catalog: what stands in it stands in the packs too.
                return false
            }
            if count == 0 { break }
            try target.writeAll(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
        try target.close()
        return true
    }
}
