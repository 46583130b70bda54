import Glibc

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

    /// Whether this process may do everything.
    static var isRoot: Bool { geteuid() == 0 }

    /// Ends the process without running what other threads left behind.
    static func exit(_ status: ExitStatus) -> Never { _exit(status.rawValue) }

    private static func bytes(_ text: UnsafePointer<CChar>) -> [UInt8] {
        [UInt8](UnsafeRawBufferPointer(start: text, count: strlen(text)))
    }
}
