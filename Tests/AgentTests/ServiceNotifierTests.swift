import Foundation
import Platform
import Testing

@testable import Agent

@Suite("The service manager")
struct ServiceNotifierTests {
    @Test("is told that the service is ready, alive and stopping")
    func messages() throws {
        let path = NSTemporaryDirectory() + "holdfast-notify-\(UUID().uuidString.prefix(8))"
        let listener = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        defer {
            close(listener)
            unlink(path)
        }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(bound == 0)
        let notifier = ServiceNotifier(socket: path, watchdog: "30000000")
        #expect(notifier.watchdogInterval == 15_000_000_000)
        func received() -> String {
            var buffer = [UInt8](repeating: 0, count: 256)
            let count = recv(listener, &buffer, buffer.count, Int32(MSG_DONTWAIT))
            return String(decoding: buffer.prefix(max(count, 0)), as: UTF8.self)
        }
        notifier.ready()
        #expect(received() == "READY=1")
        notifier.alive()
        #expect(received() == "WATCHDOG=1")
        notifier.status("all\nis stored")
        #expect(received() == "STATUS=allis stored")
        notifier.stopping()
        #expect(received() == "STOPPING=1")
    }

    @Test("that is not there, or says nonsense, changes nothing")
    func absence() {
        ServiceNotifier(socket: nil, watchdog: nil).ready()
        ServiceNotifier(socket: "/nonexistent/socket", watchdog: "x").ready()
        #expect(ServiceNotifier(socket: nil, watchdog: "-5").watchdogInterval == nil)
        #expect(ServiceNotifier(socket: nil, watchdog: "9223372036854775807").watchdogInterval == nil)
    }
}
