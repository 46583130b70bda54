import Crypto
package import Model
import Platform
import Vault

/// The packages that this server gives to machines which are to be protected, and the script that installs them.
///
/// They are looked at once, when the server starts: what it says of a file (its hash) and what it then sends belong together,
/// and a package that is upgraded starts the server anew.
package struct PackageOffer: Sendable {
    /// A package as it lies in the directory.
    package struct Package: Hashable, Sendable {
        package let name: String
        /// Of the package, as Debian writes it.
        package let version: String
        /// As `dpkg --print-architecture` says it; `all` for one without a program in it.
        package let architecture: String
        package let size: UInt64
        package let hash: Bytes32
        fileprivate let modified: FileInstant
    }

    private let directory: [UInt8]
    package let packages: [Package]
    /// Why packages that lie there are not offered, in sentences.
    package let problems: [String]
    package let script: InstallScript

    /// No packages: machines that have the program already are enrolled by the script all the same.
    package static let nothing = PackageOffer(directory: [], packages: [])

    /// What a server looks for when nobody has told it where its packages are.
    package static let usualDirectory = "/usr/share/holdfast/packages"

    private init(directory: [UInt8], packages: [Package], problems: [String] = []) {
        self.directory = directory
        self.packages = packages
        self.problems = problems
        script = InstallScript(packages)
    }

    /// Reads the packages of this program's version in a directory. One that is not there has none; a package that cannot be
    /// read is not offered, and keeps no server from starting.
    ///
    /// Throws `io` when the directory cannot be read.
    package init(directory path: [UInt8]) throws {
        do throws(Errno) {
            let directory = try DirectoryPath.open(path)
            var reader = DirectoryReader()
            reader.start(directory.raw)
            var names: [String] = []
            while let entry = try reader.next() {
                names.append(String(decoding: entry.bytes, as: UTF8.self))
            }
            var packages: [Package] = []
            var problems: [String] = []
            for name in names.sorted() {
                guard let parts = Self.parts(of: name) else { continue }
                do throws(Errno) {
                    let file = try Self.open(name, in: directory.raw)
                    let status = try file.status()
                    guard status.kind == .regular else { continue }
                    packages.append(
                        Package(
                            name: name, version: parts.version, architecture: parts.architecture, size: status.size,
                            hash: try Self.hash(file), modified: status.modified))
                } catch {
                    problems.append("the package \(name) is not offered to machines: it cannot be read: \(error)")
                }
            }
            self.init(directory: path, packages: Self.newest(packages), problems: problems)
        } catch {
            if error.isGone {
                self = .nothing
                return
            }
            throw HoldfastError(
                .io, "The packages in \(TreePath.display(path)) cannot be read: \(error).", cause: error)
        }
    }

    /// Version and architecture in the name of a package that a machine needs; `nil` for any other file, and for one of another
    /// version than this program's.
    static func parts(of name: String) -> (version: String, architecture: String)? {
        guard name.hasSuffix(".deb") else { return nil }
        let parts = name.dropLast(4).split(separator: "_", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 3, InstallScript.names.contains(parts[0]),
            parts[1] == ProgramVersion.current || parts[1].hasPrefix(ProgramVersion.current + "-"),
            // They stand in a script.
            parts[1].utf8.allSatisfy({ isPlain($0) }), parts[2].utf8.allSatisfy({ isPlain($0) }), !parts[2].isEmpty
        else { return nil }
        return (parts[1], parts[2])
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
            || "-.+~".utf8.contains(byte)
    }

    /// Of several revisions of one package the last.
    private static func newest(_ packages: [Package]) -> [Package] {
        var result: [String: Package] = [:]
        for package in packages {
            let key = "\(package.name.prefix { $0 != "_" }) \(package.architecture)"
            if let known = result[key], isOlder(package.version, than: known.version) { continue }
            result[key] = package
        }
        return result.values.sorted { $0.name < $1.name }
    }

    /// Whether a version comes before another in Debian's order: numbers by their value, `~` before everything, also before the
    /// end, and letters before other signs.
    static func isOlder(_ a: String, than b: String) -> Bool {
        func rank(_ byte: UInt8?) -> Int {
            guard let byte else { return 0 }
            return switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): 0
            case UInt8(ascii: "~"): -1
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"): Int(byte)
            default: Int(byte) + 256
            }
        }
        func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
        var (left, right) = (a.utf8[...], b.utf8[...])
        while !left.isEmpty || !right.isEmpty {
            while left.first.map({ !isDigit($0) }) ?? false || right.first.map({ !isDigit($0) }) ?? false {
                let (x, y) = (rank(left.first), rank(right.first))
                if x != y { return x < y }
                left = left.dropFirst()
                right = right.dropFirst()
            }
            let (x, y) = (left.prefix(while: isDigit), right.prefix(while: isDigit))
            left = left[x.endIndex...]
            right = right[y.endIndex...]
            let (m, n) = (x.drop { $0 == 0x30 }, y.drop { $0 == 0x30 })
            if m.count != n.count { return m.count < n.count }
            if !m.elementsEqual(n) { return m.lexicographicallyPrecedes(n) }
        }
        return false
    }

    private static func open(_ name: String, in directory: Int32) throws(Errno) -> FileDescriptor {
        try withCName(Array(name.utf8)) { (name) throws(Errno) in
            try FileDescriptor.open(at: directory, name, [.readOnly, .followLink])
        }
    }

    private static func hash(_ file: borrowing FileDescriptor) throws(Errno) -> Bytes32 {
        var hash = SHA256()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
        defer { buffer.deallocate() }
        while true {
            let count = try file.readFully(into: buffer)
            if count == 0 { break }
            hash.update(bufferPointer: UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
        return Bytes32(Array(hash.finalize())) ?? .zero
    }

    /// Opens a package to be sent. Throws `notFound` for what is not offered, `io` for a file that is not the one that was
    /// looked at.
    func body(of name: String) throws -> FileBody {
        guard let package = packages.first(where: { $0.name == name }) else {
            throw HoldfastError(.notFound, "this server offers no such package")
        }
        do throws(Errno) {
            let directory = try DirectoryPath.open(self.directory)
            let file = try Self.open(name, in: directory.raw)
            let status = try file.status()
            if status.size == package.size, status.modified == package.modified {
                return FileBody(file, length: Int(package.size), hash: package.hash)
            }
        } catch {
            throw HoldfastError(.io, "the package \(name) cannot be read: \(error)", cause: error)
        }
        throw HoldfastError(
            .io, "the package \(name) is not the one that was there when the server started: start the server again")
    }
}

/// A file that is sent as it is, piece by piece, so that a slow reader costs no memory.
package final class FileBody: Sendable {
    /// Bytes that are in memory of it at once.
    static let pieceLength = 64 << 10

    private let file: FileDescriptor
    let length: Int
    let hash: Bytes32

    init(_ file: consuming FileDescriptor, length: Int, hash: Bytes32) {
        self.file = file
        self.length = length
        self.hash = hash
    }

    /// The bytes from an offset on, at most `pieceLength`. Throws `io` when the file has become shorter. Blocks.
    func piece(at offset: Int) throws -> [UInt8] {
        let wanted = min(Self.pieceLength, length - offset)
        do {
            let bytes = try [UInt8](unsafeUninitializedCapacity: wanted) { buffer, count in
                count = try file.readFully(
                    into: UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: wanted), at: UInt64(offset))
            }
            if bytes.count == wanted { return bytes }
        } catch {
            throw HoldfastError(.io, "a file that is sent cannot be read: \(error)", cause: error)
        }
        throw HoldfastError(.io, "a file that is sent has become shorter")
    }
}
