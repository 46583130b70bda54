import Glibc
import Platform

/// Tells the service manager how the service is, by the protocol of `sd_notify`: datagrams of text to the socket that
/// `NOTIFY_SOCKET` names. Without one nothing is told.
package struct ServiceNotifier: Sendable {
    private let socket: [UInt8]?
    /// How often the manager wants to hear that the service is alive, in nanoseconds; half of what it waits for at most.
    package let watchdogInterval: Int64?

    /// From the environment of the process.
    package init() {
        self.init(
            socket: getenv("NOTIFY_SOCKET").map { String(cString: $0) },
            watchdog: getenv("WATCHDOG_USEC").map { String(cString: $0) })
    }

    init(socket: String?, watchdog: String?) {
        self.socket = socket.flatMap { $0.isEmpty ? nil : Array($0.utf8) }
        let microseconds = watchdog.flatMap { Int64($0) } ?? 0
        watchdogInterval = (1...(.max / 500)).contains(microseconds) ? microseconds * 500 : nil
    }

    /// The service does its work.
    package func ready() { send("READY=1") }
    /// The service is alive.
    package func alive() { send("WATCHDOG=1") }
    /// The service is about to end.
    package func stopping() { send("STOPPING=1") }
    /// One line for `systemctl status`.
    package func status(_ text: String) { send("STATUS=" + text.filter { $0 != "\n" }) }

    private func send(_ text: String) {
        guard let socket else { return }
        // A manager that does not listen is not a reason to stop protecting.
        try? LocalSocket.send(Array(text.utf8), to: socket)
    }
}
