import Foundation
import Platform

/// A file system of its own in a file, mounted for one test and gone afterwards. Needs root, loop devices and the tools
/// of the file system.
///
/// ```
/// guard let disk = LoopFileSystem.make(.xfs) else { return }
/// ```
package final class LoopFileSystem: Sendable {
    package enum Kind: String, CaseIterable, Sendable, CustomStringConvertible {
        case ext4, xfs, btrfs
        package var description: String { rawValue }

        fileprivate var make: [String] {
            switch self {
            // What a disk of ordinary size gets; small ones would get smaller blocks and inodes.
            case .ext4: ["mkfs.ext4", "-q", "-F", "-b", "4096", "-I", "256", "-m", "0"]
            case .xfs: ["mkfs.xfs", "-q", "-f"]
            case .btrfs: ["mkfs.btrfs", "-q", "-f"]
            }
        }
    }

    package let kind: Kind
    /// Where it is mounted.
    package let path: String
    private let image: String

    private init(kind: Kind, path: String, image: String) {
        self.kind = kind
        self.path = path
        self.image = image
    }

    /// Makes and mounts a file system; `nil`, with the reason printed, where that cannot be done.
    package static func make(_ kind: Kind, megabytes: Int = 320, options: String = "") -> LoopFileSystem? {
        func skip(_ reason: String) -> LoopFileSystem? {
            print("skipped on \(kind): \(reason)")
            return nil
        }
        guard geteuid() == 0 else { return skip("not root") }
        let base = "\(NSTemporaryDirectory())/holdfast-loop-\(UUID().uuidString)"
        let image = base + ".img"
        do {
            let file = try FileDescriptor.open(Array(image.utf8), [.readWrite, .create, .exclusive])
            try file.truncate(to: UInt64(megabytes) << 20)
            try file.close()
            try FileManager.default.createDirectory(atPath: base, withIntermediateDirectories: true)
        } catch { return skip("\(error)") }
        func fail(_ reason: String) -> LoopFileSystem? {
            unlink(image)
            rmdir(base)
            return skip(reason)
        }
        let made = Tool.run(kind.make + [image])
        guard made.status == 0 else { return fail("\(kind.make[0]) failed: \(made.text)") }
        let mounted = Tool.run(
            ["mount", "-t", kind.rawValue, "-o", options.isEmpty ? "loop" : "loop,\(options)", image, base])
        guard mounted.status == 0 else { return fail("mount failed: \(mounted.text)") }
        return LoopFileSystem(kind: kind, path: base, image: image)
    }

    /// Mounts again with other options, for example `ro`.
    package func remount(_ options: String) -> Bool {
        Tool.run(["mount", "-o", "remount,\(options)", path]).status == 0
    }

    deinit {
        // A descriptor that a failed test left open must not keep the mount for ever.
        if Tool.run(["umount", path]).status != 0 { Tool.run(["umount", "-l", path]) }
        rmdir(path)
        unlink(image)
    }
}

/// Runs tools of the system for tests.
package enum Tool {
    package struct Outcome: Sendable {
        /// Exit status, -1 when the tool could not be started.
        package var status: Int32
        /// Standard output and standard error.
        package var output: [UInt8]
        package var text: String { String(decoding: output, as: UTF8.self) }
    }

    /// Runs a tool found in PATH, with an empty standard input.
    @discardableResult
    package static func run(_ arguments: [String], directory: String? = nil) -> Outcome {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = arguments
        if let directory { process.currentDirectoryURL = URL(fileURLWithPath: directory) }
        let pipe = Pipe()
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = pipe
        process.standardError = pipe
        do { try process.run() } catch { return Outcome(status: -1, output: Array("\(error)".utf8)) }
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return Outcome(status: process.terminationStatus, output: [UInt8](data))
    }
}
