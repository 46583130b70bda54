import CLinux
import Glibc

/// Sockets between programs of one machine, named by a path.
package enum LocalSocket {
    /// Connects to who listens under a name in a directory. Throws `noEntry` or `refused` when nobody does.
    package static func connect(directory: [UInt8], name: String) throws(Errno) -> FileDescriptor {
        let folder = try FileDescriptor.open(directory, [.pathOnly, .followLink])
        let socket = try make(SOCK_STREAM)
        try withAddress(path(folder.raw, name)) { (address, length) throws(Errno) in
            try check(Glibc.connect(socket.raw, address, length))
        }
        return socket
    }

    /// Who is at the other end of a connection, as it was when they connected: user, group and further groups.
    package static func peer(_ socket: borrowing FileDescriptor) throws(Errno) -> (
        uid: UInt32, gid: UInt32, groups: [UInt32]
    ) {
        var uid: UInt32 = 0
        var gid: UInt32 = 0
        let raw = socket.raw
        try retrying { hf_peer(raw, &uid, &gid) }
        // As many as a process may have. A kernel before Linux 4.13 does not tell: then only the first group counts.
        var groups = [UInt32](repeating: 0, count: 65_536)
        let count = hf_peer_groups(raw, &groups, groups.count)
        return (uid, gid, Array(groups.prefix(max(count, 0))))
    }

    /// Sends one message to a socket of datagrams. A path that begins with `@` is a name without a file.
    package static func send(_ message: [UInt8], to path: [UInt8]) throws(Errno) {
        let socket = try make(SOCK_DGRAM)
        try withAddress(path) { (address, length) throws(Errno) in
            try check(
                Int32(
                    message.withUnsafeBytes {
                        sendto(socket.raw, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL), address, length)
                    } < 0 ? -1 : 0))
        }
    }

    fileprivate static func make(_ type: __socket_type) throws(Errno) -> FileDescriptor {
        let raw = socket(AF_UNIX, Int32(type.rawValue | SOCK_CLOEXEC.rawValue), 0)
        if raw < 0 { throw Errno(code: errno) }
        return FileDescriptor(owning: raw)
    }

    /// A path that is short enough for an address, however long the directory's is.
    fileprivate static func path(_ directory: Int32, _ name: String) -> [UInt8] {
        Array("/proc/self/fd/\(directory)/\(name)".utf8)
    }

    fileprivate static func check(_ outcome: Int32) throws(Errno) { if outcome < 0 { throw Errno(code: errno) } }

    fileprivate static func withAddress(
        _ path: [UInt8], _ body: (UnsafePointer<sockaddr>, socklen_t) throws(Errno) -> Void
    ) throws(Errno) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let room = MemoryLayout.size(ofValue: address.sun_path)
        guard path.count < room else { throw .nameTooLong }
        withUnsafeMutableBytes(of: &address.sun_path) { bytes in
            bytes.copyBytes(from: path)
            // A name without a file begins with a zero byte.
            if path.first == UInt8(ascii: "@") { bytes[0] = 0 }
        }
        let isNamed = path.first != UInt8(ascii: "@")
        let length = socklen_t(MemoryLayout<sa_family_t>.size + path.count + (isNamed ? 1 : 0))
        var failure: Errno?
        withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                do throws(Errno) { try body(pointer, length) } catch { failure = error }
            }
        }
        if let failure { throw failure }
    }
}

/// Listens for other programs of this machine.
package final class LocalListener: Sendable {
    private let socket: FileDescriptor
    private let folder: FileDescriptor
    private let name: String

    /// Listens under a name in a directory; whoever may enter that may connect. A socket that a dead process left is replaced.
    ///
    /// - Parameter isOpen: whoever may enter the directory may connect, not only the owner and who is in the group by the umask.
    package init(directory: [UInt8], name: String, isOpen: Bool = false) throws(Errno) {
        let folder = try FileDescriptor.open(directory, [.pathOnly, .followLink])
        let path = LocalSocket.path(folder.raw, name)
        let socket = try LocalSocket.make(SOCK_STREAM)
        unlink(String(decoding: path, as: UTF8.self))
        try LocalSocket.withAddress(path) { (address, length) throws(Errno) in
            try LocalSocket.check(bind(socket.raw, address, length))
        }
        if isOpen { try LocalSocket.check(chmod(String(decoding: path, as: UTF8.self), 0o666)) }
        try LocalSocket.check(listen(socket.raw, 16))
        self.socket = socket
        self.folder = folder
        self.name = name
    }

    deinit { unlink(String(decoding: LocalSocket.path(folder.raw, name), as: UTF8.self)) }

    /// For `Poll.wait`, with `.readable`.
    package var raw: Int32 { socket.raw }

    /// Takes a connection that waits; reading and writing give up after `seconds`.
    package func accept(seconds: Int) throws(Errno) -> FileDescriptor {
        let raw = Glibc.accept(socket.raw, nil, nil)
        if raw < 0 { throw Errno(code: errno) }
        let connection = FileDescriptor(owning: raw)
        _ = fcntl(raw, F_SETFD, FD_CLOEXEC)
        var limit = timeval(tv_sec: seconds, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            _ = setsockopt(raw, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        return connection
    }
}
