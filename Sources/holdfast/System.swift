import Glibc
import Platform

/// What the process was started with, byte for byte, and how it ends.
enum System {
    /// The arguments as the system passed them, the program's name first.
    static var arguments: [[UInt8]] {
        (0..<Int(CommandLine.argc)).compactMap { index in
            CommandLine.unsafeArgv[index].map { bytes($0) }
        }
    }

    /// An environment variable, when it is set to something.
    static func environment(_ name: String) -> [UInt8]? {
        guard let value = getenv(name), value[0] != 0 else { return nil }
        return bytes(value)
    }

    /// The directory that relative paths begin in.
    static func workingDirectory() throws(Errno) -> [UInt8] {
        guard let path = getcwd(nil, 0) else { throw Errno(code: errno) }
        defer { free(path) }
        return bytes(path)
    }

    /// Whether this process may do everything.
    static var isRoot: Bool { geteuid() == 0 }

    /// Who this process acts as.
    static var owner: (user: UInt32, group: UInt32) { (geteuid(), getegid()) }

    /// Ends the process without running what other threads left behind.
    static func exit(_ status: ExitStatus) -> Never { _exit(status.rawValue) }

    /// Makes a directory (mode 0700) with what is missing above it. One that is there already stays as it is.
    static func makeDirectories(_ path: [UInt8]) throws(Errno) {
        let slash = UInt8(ascii: "/")
        var ends = path.indices.dropFirst().filter { path[$0] == slash && path[$0 - 1] != slash }
        ends.append(path.count)
        for end in ends {
            let part = Array(path[..<end])
            let isThere = try withCName(part) { (name) throws(Errno) -> Bool in
                do throws(Errno) {
                    return try FileSystem.statusFollowing(name).kind == .directory
                } catch {
                    if error == .noEntry { return false }
                    throw error
                }
            }
            if isThere { continue }
            try withCName(part) { (name) throws(Errno) in
                try FileSystem.makeDirectory(at: FileSystem.currentDirectory, name)
            }
        }
    }

    private static func bytes(_ text: UnsafePointer<CChar>) -> [UInt8] {
        [UInt8](UnsafeRawBufferPointer(start: text, count: strlen(text)))
    }
}
