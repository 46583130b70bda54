import Foundation
import Synchronization

/// The state of the whole system.
enum SystemState {
    /// Whether the machine shuts down or starts anew, as systemd knows; `false` where there is no systemd.
    static var isGoingDown: Bool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/systemctl")
        process.arguments = ["is-system-running"]
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        process.standardInput = FileHandle.nullDevice
        guard FileManager.default.isExecutableFile(atPath: "/usr/bin/systemctl"), (try? process.run()) != nil else {
            return false
        }
        // It answers within milliseconds, or its bus is gone already.
        let watch = DispatchWorkItem { process.terminate() }
        DispatchQueue.global().asyncAfter(deadline: .now() + 2, execute: watch)
        let text = (try? output.fileHandleForReading.readToEnd()) ?? nil
        process.waitUntilExit()
        watch.cancel()
        return String(decoding: text ?? Data(), as: UTF8.self).hasPrefix("stopping")
    }
}
