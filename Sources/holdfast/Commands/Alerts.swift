import ArgumentParser
import Client
import Model
import Vault

/// `holdfast alerts`
struct AlertsGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "alerts",
        abstract: "What somebody should know of, on a server.",
        discussion: """
            A server raises an alert when a machine is silent or behind, when a backup fails or leaves something out, when a \
            disk or a certificate comes to its end, when damage is found, and when many files are replaced or deleted at once. \
            Each is raised once and resolved by itself.

              holdfast alerts            what is open
              holdfast alerts ack 7      you have seen it
              holdfast alerts test       sends a message on every way on which alerts go out

            Mail, webhooks and heartbeat are set on the server's machine: `holdfast server alerts`.
            """,
        subcommands: [AlertsList.self, AlertsAck.self, AlertsTest.self], defaultSubcommand: AlertsList.self
    )
}

/// `holdfast alerts list`
struct AlertsList: Command {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List alerts, newest first.",
        usage: "holdfast alerts [list] [--resolved <count>] --vault <server> --token-file <file>",
        discussion: """
            Exit status: 0 nothing is open, 3 something is.

            Example:
              holdfast alerts --resolved 20
            """
    )

    @Option(help: ArgumentHelp("Show also the newest so many of those that are resolved.", valueName: "count"))
    var resolved = 0
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if !(0...2_000).contains(resolved) { throw ValidationError("--resolved takes a number from 0 to 2000.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let alerts = try session.alerts().list(resolved: resolved)
        var table = Table(("no.", .right), ("state", .left), ("since", .left), ("machine", .left), ("alert", .left))
        for alert in alerts {
            try console.emit("alert", alert.fields)
            table.add(
                String(alert.number), alert.state == "open" ? alert.severity : alert.state,
                Units.age(of: alert.raised, at: session.now),
                alert.machineName.map { TreePath.display($0.utf8) } ?? "", "\(alert.kind): \(alert.text)")
        }
        if !alerts.isEmpty { try console.table(table) }
        let isOpen = alerts.contains { $0.state == "open" }
        if alerts.isEmpty { try console.line("Nothing that somebody should know of.") }
        return isOpen ? .warnings : .done
    }
}

/// `holdfast alerts ack`
struct AlertsAck: Command {
    static let configuration = CommandConfiguration(
        commandName: "ack",
        abstract: "Say that you have seen alerts.",
        usage: "holdfast alerts ack <number> ... --vault <server> --token-file <file>",
        discussion: """
            An alert that was seen goes on to be listed until it is resolved; nobody is told of it again.

            Example:
              holdfast alerts ack 7
            """
    )

    @Argument(help: ArgumentHelp("Numbers of alerts, as `holdfast alerts` shows them.", valueName: "number"))
    var numbers: [Int64]
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let alerts = try VaultSession(console, location, global).alerts()
        for number in numbers {
            let alert = try alerts.acknowledge(number)
            try console.emit("alert", alert.fields)
            try console.line("Alert \(alert.number), \(alert.kind): \(alert.state).")
        }
        return .done
    }
}

/// `holdfast alerts test`
struct AlertsTest: Command {
    static let configuration = CommandConfiguration(
        commandName: "test",
        abstract: "Send a message on every way on which alerts go out.",
        usage: "holdfast alerts test --vault <server> --token-file <file>",
        discussion: """
            Exit status: 0 every way works, 1 one of them does not, 3 there is none yet.

            Example:
              holdfast alerts test
            """
    )

    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let trials = try VaultSession(console, location, global).alerts().test()
        for trial in trials {
            try console.emit(
                "alert_trial",
                ["target": .string(trial.target), "failure": trial.failure.map { .string($0) } ?? .null])
            let target = TreePath.display(trial.target.utf8)
            try console.line(trial.failure.map { "\(target): \($0)" } ?? "\(target): sent.")
        }
        if trials.isEmpty {
            console.warn("Alerts go out on no way yet. `holdfast server alerts` on the server's machine sets some.")
            return .warnings
        }
        return trials.contains { $0.failure != nil } ? .failed : .done
    }
}

extension AlertSummary {
    fileprivate var fields: [String: JSON] {
        [
            "number": .integer(number), "kind": .string(kind), "machine": machine.map { .id($0) } ?? .null,
            "machine_name": machineName.map { .string($0) } ?? .null, "severity": .string(severity),
            "text": .string(text), "state": .string(state), "raised": .time(raised), "changed": .time(changed),
            "by": by.map { .string($0) } ?? .null,
        ]
    }
}
