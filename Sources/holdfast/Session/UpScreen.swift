import Agent
import Capture
import Client
import Glibc
import Model
import Platform
import Synchronization
import Vault

/// What `holdfast up` shows beside its proof.
struct UpScreen {
    let home: HomeServer
    let agent: AgentService
    let console: Console

    /// What is protected, and how changes are seen.
    func showProtection() throws {
        let status = agent.status
        let paths = status.roots.map(\.displayText)
        try console.emit(
            "agent", ["paths": .strings(paths), "watching": .strings(status.fileSystems.map(\.displayText))])
        try console.line("Protect  \(paths.joined(separator: ", "))")
        for system in status.fileSystems {
            let place = "\(system.mountPoint.displayText) (\(system.type))"
            switch system.mode {
            case .events: try console.line("Watch    \(place): changes are seen as they happen")
            case .scan(let reason): try console.line("Watch    \(place): looked at every 30 seconds, because \(reason)")
            }
        }
        let isBlind = status.fileSystems.contains { $0.isScanned }
        if isBlind, geteuid() != 0 {
            try console.line("         Run it with sudo and the kernel tells of every change as it happens.")
        }
        try console.flush()
    }

    /// Waits until everything is stored once. `false` when somebody ended it.
    func waitForFirstBackup() throws -> Bool {
        let begun = SystemClock.monotonic
        while true {
            let status = agent.status
            if status.scans > 0 { break }
            if let problem = status.problem { console.showTransient("         \(problem)") }
            if let progress = agent.captureProgress {
                let files = progress.filesSeen.load(ordering: .relaxed)
                let bytes = progress.bytesDone.load(ordering: .relaxed)
                console.showTransient("Backup   \(Units.count(files, "file")), \(Units.size(bytes)) so far")
            }
            if try Signals.wait(milliseconds: 200) {
                console.showTransient(nil)
                return false
            }
        }
        console.showTransient(nil)
        let status = agent.status
        let files = status.statistics?.files ?? 0
        let bytes = status.statistics?.bytes ?? 0
        let milliseconds = (SystemClock.monotonic - begun) / 1_000_000
        try console.emit(
            "first_backup",
            [
                "files": .count(files), "bytes": .count(bytes), "milliseconds": .count(milliseconds),
                "not_kept": .count(status.notKeptCount),
            ])
        try console.line(
            "Backup   \(Units.count(files, "file")), \(Units.size(bytes)) in \(Units.span(nanoseconds: UInt64(milliseconds) * 1_000_000))"
        )
        for warning in status.notKept.prefix(5) {
            try console.line("  not kept: /\(TreePath.display(warning.path)): \(warning.text)")
        }
        if status.notKeptCount > 5 { try console.line("  and \(status.notKeptCount - 5) more: see `agent status`") }
        try console.flush()
        return true
    }

    /// Commands to copy, which a test runs.
    func showCommands(_ proof: UpProof.Outcome) throws {
        let program = UpScreen.program
        let state = UpScreen.quoted(home.machineState)
        let server = UpScreen.quoted(home.serverState)
        let file = UpScreen.quoted(proof.file)
        let commands: [(String, String)] = [
            (
                "Type the key sheet back once, so that it is known to be right:",
                "\(program) server check-sheet --vault \(UpScreen.quoted(home.vaultPath)) --state \(server)"
            ),
            ("Ask the server how it is:", "curl -sk \(home.address.description)/health"),
            (
                "The versions of a file on this machine, and one of them back:",
                "\(program) versions \(file) --state \(state)"
            ),
            (
                "",
                "\(program) restore \(UpScreen.quoted(proof.file + Array("@\(proof.time)".utf8))) --to /tmp/rescued --state \(state)"
            ),
            (
                "Protect another machine: run what this prints there.",
                "\(program) server token --address https://\(Machine.hostName):\(home.address.port) --state \(server)"
            ),
        ]
        for (text, command) in commands {
            try console.emit("command", ["text": .string(text), "command": .string(command)])
            if !text.isEmpty {
                try console.line("")
                try console.line(text)
            }
            try console.line("  \(command)")
        }
        try showConsole()
        try console.line("")
    }

    /// Where a browser sees all of it; with a link for the owner's password until there is one.
    private func showConsole() throws {
        let link = try home.setUp.map { try AccountGroup.link($0, home.address.description) }
        let near = link ?? home.address.description
        // A browser is mostly on another machine.
        var far: String?
        if let server = try? ServerAddress("https://\(Machine.hostName):\(home.address.port)"), server != home.address {
            far = server.description
            if let secret = home.setUp { far = try AccountGroup.link(secret, server.description) }
        }
        try console.emit(
            "console",
            ["address": .string(near), "from_elsewhere": .string(far ?? near), "set_up": .bool(link != nil)])
        try console.line("")
        if link != nil {
            try console.line(
                "See it in a browser, and set the owner's password there (the link holds a day, and once).")
            try console.line("The certificate is this server's own, so the browser asks whether you trust it:")
        } else {
            try console.line("See it in a browser:")
        }
        if let far {
            try console.line("  \(far)")
            try console.line("or on this machine:")
        }
        try console.line("  \(near)")
    }

    /// One line that says how it stands, until somebody ends it.
    func showLive() throws {
        try console.line("Everything saved from now on is kept. Control-C ends it.")
        try console.flush()
        while try !Signals.wait(milliseconds: 500) {
            let status = agent.status
            var text = "\(Units.count(status.statistics?.files ?? 0, "file")) protected, "
            text +=
                status.lag == 0
                ? "everything is stored" : "\(Units.span(nanoseconds: UInt64(status.lag))) behind"
            if status.notKeptCount > 0 { text += ", \(status.notKeptCount) not kept" }
            if let problem = status.problem { text += "; \(problem)" }
            console.showTransient(text)
        }
        console.showTransient(nil)
    }

    /// As somebody would type it.
    static var program: String {
        guard let first = System.arguments.first, first.contains(UInt8(ascii: "/")),
            let full = try? PathArgument(bytes: first).fromWorkingDirectory()
        else { return "holdfast" }
        return quoted(full)
    }

    /// For a shell.
    static func quoted(_ bytes: [UInt8]) -> String {
        let safe = Array("/._-@:+,=%".utf8)
        let isPlain = bytes.allSatisfy { byte in
            (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                || safe.contains(byte)
        }
        let text = String(decoding: bytes, as: UTF8.self)
        return isPlain ? text : "'" + text.replacing("'", with: "'\\''") + "'"
    }
}
