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
              holdfast alerts resolve 7  it is over
              holdfast alerts mute       nobody is told of some for a while
              holdfast alerts test       sends a message on every way on which alerts go out

            Mail, webhooks and heartbeat are set on the server's machine: `holdfast server alerts`.
            """,
        subcommands: [
            AlertsList.self, AlertsAck.self, AlertsResolve.self, AlertsMute.self, AlertsMutes.self, AlertsUnmute.self,
            AlertsTest.self,
        ], defaultSubcommand: AlertsList.self
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

/// Alerts that something is said of.
struct AlertNumbers: ParsableArguments {
    @Argument(help: ArgumentHelp("Numbers of alerts, as `holdfast alerts` shows them.", valueName: "number"))
    var numbers: [Int64]
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func say(_ word: AlertWord, _ console: Console) throws -> ExitStatus {
        let alerts = try VaultSession(console, location, global).alerts()
        for number in numbers {
            let alert = try alerts.say(word, of: number)
            try console.emit("alert", alert.fields)
            try console.line("Alert \(alert.number), \(alert.kind): \(alert.state).")
        }
        return .done
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

    @OptionGroup var alerts: AlertNumbers
    var global: GlobalOptions { alerts.global }

    func execute(_ console: Console) throws -> ExitStatus { try alerts.say(.acknowledge, console) }
}

/// `holdfast alerts resolve`
struct AlertsResolve: Command {
    static let configuration = CommandConfiguration(
        commandName: "resolve",
        abstract: "Say that alerts are over.",
        usage: "holdfast alerts resolve <number> ... --vault <server> --token-file <file>",
        discussion: """
            Alerts are resolved by themselves when what they say does not hold any more; this does not wait for it. What still \
            holds is raised anew.

            Example:
              holdfast alerts resolve 7
            """
    )

    @OptionGroup var alerts: AlertNumbers
    var global: GlobalOptions { alerts.global }

    func execute(_ console: Console) throws -> ExitStatus { try alerts.say(.resolve, console) }
}

/// `holdfast alerts mute`
struct AlertsMute: Command {
    static let configuration = CommandConfiguration(
        commandName: "mute",
        abstract: "Have nobody told of some alerts for a while.",
        usage: """
            holdfast alerts mute [--kind <kind>] [--machine <machine> | --group <group>]
                [--hours <hours>] [--reason <text>] --vault <server> --token-file <file>
            """,
        discussion: """
            They are raised and listed as ever. What is still open when the rule ends is told then. Without a machine or a group \
            the rule is about all machines and the server.

            Examples:
              holdfast alerts mute --machine laptop-7 --hours 72 --reason "on a journey"
              holdfast alerts mute --kind lag --group branch-office
            """
    )

    @Option(help: ArgumentHelp("Only alerts of this kind, as in lists.", valueName: "kind"))
    var kind: String?
    @Option(help: ArgumentHelp("Only those of this machine.", valueName: "machine"))
    var machine: String?
    @Option(help: ArgumentHelp("Only those of machines of this group.", valueName: "group"))
    var group: String?
    @Option(help: ArgumentHelp("How long.", valueName: "hours"))
    var hours = 24
    @Option(help: ArgumentHelp("Why, for others.", valueName: "text"))
    var reason = ""
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if machine != nil, group != nil { throw ValidationError("--machine and --group do not go together.") }
        if !(1...8_784).contains(hours) { throw ValidationError("--hours takes a number from 1 to 8784.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let rule = try session.alerts().mute(
            AlertMuteWish(
                kind: kind, machine: try machine.map { try session.machine(named: $0) }, group: group,
                seconds: Int64(hours) * 3_600, reason: reason))
        try console.emit("alert_mute", rule.fields)
        try console.line(
            "Muted until \(TimeText.local(rule.until, in: console.zone)): \(rule.shown(session)). "
                + "`holdfast alerts unmute \(rule.id)` ends it.")
        return .done
    }
}

/// `holdfast alerts mutes`
struct AlertsMutes: Command {
    static let configuration = CommandConfiguration(
        commandName: "mutes",
        abstract: "List the rules that mute alerts.",
        usage: "holdfast alerts mutes --vault <server> --token-file <file>",
        discussion: """
            Example:
              holdfast alerts mutes
            """
    )

    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let rules = try session.alerts().mutes()
        var table = Table(("rule", .left), ("what", .left), ("until", .left), ("by", .left), ("reason", .left))
        for rule in rules {
            try console.emit("alert_mute", rule.fields)
            table.add(
                rule.id, rule.shown(session), TimeText.local(rule.until, in: console.zone),
                TreePath.display(rule.by.utf8), TreePath.display(rule.reason.utf8))
        }
        if rules.isEmpty { try console.line("No alert is muted.") } else { try console.table(table) }
        return .done
    }
}

/// `holdfast alerts unmute`
struct AlertsUnmute: Command {
    static let configuration = CommandConfiguration(
        commandName: "unmute",
        abstract: "End rules that mute alerts before their time.",
        usage: "holdfast alerts unmute <rule> ... --vault <server> --token-file <file>",
        discussion: """
            What is open is told then.

            Example:
              holdfast alerts unmute 5f0c11d29a7be340
            """
    )

    @Argument(help: ArgumentHelp("Rules, as `holdfast alerts mutes` shows them.", valueName: "rule"))
    var rules: [String]
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        for rule in rules where rule.isEmpty || !rule.allSatisfy({ $0.isASCII && $0.isHexDigit }) {
            throw ValidationError("A rule is named by its hexadecimal digits, as `holdfast alerts mutes` shows them.")
        }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let alerts = try VaultSession(console, location, global).alerts()
        for rule in rules {
            try alerts.unmute(rule)
            try console.line("The rule \(rule) is gone.")
        }
        return .done
    }
}

extension AlertMute {
    fileprivate func shown(_ session: VaultSession) -> String {
        TreePath.display(words { session.machineName($0) }.utf8)
    }

    fileprivate var fields: [String: JSON] {
        [
            "id": .string(id), "kind": kind.map { .string($0) } ?? .null,
            "machine": machine.map { .id($0) } ?? .null, "group": group.map { .string($0) } ?? .null,
            "until": .time(until), "created": .time(created), "by": .string(by), "reason": .string(reason),
        ]
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
