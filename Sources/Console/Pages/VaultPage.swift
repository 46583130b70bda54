import Catalog
import Client
import Model
import Server
import Vault

/// What the vault holds, how it grows, and whether it is whole.
enum VaultPage {
    static let all: [Page] = [
        .get("/vault", "What the vault holds.", .right(.seeStates), show),
        .get("/vault.csv", "What machines have stored, as a table.", .right(.seeStates)) { visit in
            table().file(try rows(visit).rows, visit, name: "vault")
        },
    ]

    private struct Row {
        var name: String
        var machine: ManagedMachine?
        var stored: UInt64
        var newest: UInt64
        var part: Double
        /// So many writers without a name are summed up in it.
        var others = 0
    }

    private static func rows(_ visit: Visit) throws -> (rows: [Row], usage: CatalogStatistics, space: StoreSpace?) {
        guard visit.seesAllMachines else {
            throw HoldfastError(
                .denied, "The vault is shown to those who see all machines.",
                context: ["hint": "What a machine of yours holds stands on its own page."])
        }
        let (usage, space) = try visit.core.usage()
        let stored = usage.data.bytes + usage.meta.bytes + usage.records.bytes
        // What a machine has stored stands under its id.
        let machines = try visit.machines()
        let writers = Dictionary(machines.map { (WriterID(high: $0.id.high, low: $0.id.low), $0) }) { first, _ in first
        }
        let records = try? visit.core.vault.machineRecords()
        var rows: [Row] = []
        var others = Row(name: "Other writers", stored: 0, newest: 0, part: 0)
        for (writer, bytes) in usage.bytesByOrigin {
            let machine = writers[writer]
            guard let name = machine?.name ?? records?[MachineID(high: writer.high, low: writer.low)]?.name else {
                others.stored += bytes
                others.others += 1
                continue
            }
            rows.append(
                Row(
                    name: name, machine: machine, stored: bytes,
                    newest: machine.flatMap { visit.core.overview(of: $0).report?.bytes } ?? 0,
                    part: Double(bytes) / Double(max(stored, 1))))
        }
        if others.others > 0 {
            others.part = Double(others.stored) / Double(max(stored, 1))
            rows.append(others)
        }
        return (rows.sorted { $0.name < $1.name }, usage, space)
    }

    private static func table() -> Table<Row> {
        var table = Table<Row>(
            path: "/vault", noun: ("writer", "writers"),
            columns: [
                .init(
                    "name", "Machine", by: { $0.name.lowercased() }, plain: \.name,
                    cell: { row in
                        if let machine = row.machine {
                            return
                                "<a href=\"/machines/\(machine.id.hex)\">\(machine.name)</a><small>\(machine.group)</small>"
                        }
                        return row.others == 0
                            ? "\(row.name)"
                            : "\(row.name)<small>\(Units.count(row.others)) without a name: not machines of this server</small>"
                    }),
                .init(
                    "stored", "Stored", isNumber: true, startsLargest: true, by: \.stored, plain: { "\($0.stored)" },
                    cell: { Piece.size($0.stored) }),
                .init(
                    "newest", "Newest state", isNumber: true, startsLargest: true, by: \.newest,
                    plain: { "\($0.newest)" },
                    cell: { $0.newest > 0 ? Piece.size($0.newest) : .nothing }),
                .init(
                    "part", "Part of the vault", plain: { "\((($0.part * 10_000).rounded()) / 100)" },
                    cell: { row in
                        "<meter min=\"0\" max=\"1\" value=\"\(String(row.part))\" aria-label=\"Its part of the vault\"></meter>"
                    }),
                .init(
                    "growth", "Paths", plain: { $0.machine?.id.hex ?? "" },
                    cell: { row in
                        row.machine.map {
                            "<a href=\"/machines/\($0.id.hex)/growth\">What adds most<span class=\"unseen\"> on \($0.name)</span></a>"
                        }
                            ?? .nothing
                    }),
            ], usualOrder: "-stored")
        table.search = ("Name", { $0.name.lowercased().contains($1) })
        return table
    }

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        let (rows, usage, space) = try rows(visit)
        let protected = rows.reduce(UInt64(0)) { $0 + $1.newest }
        let stored = usage.data.bytes + usage.meta.bytes + usage.records.bytes
        let damage: HTML =
            usage.damaged + usage.incomplete == 0
            ? Piece.state("good", "No damage is known")
            : Piece.state("bad", "\(usage.damaged) damaged, \(usage.incomplete) with something missing")
        let history = visit.core.usageHistory()
        let ratio: HTML? =
            stored > 0 && protected > 0
            ? """
            <div><dt>Newest states of all machines</dt><dd>\(Piece.size(protected))<small>\(times(protected, stored)) what is stored, with all its history</small></dd></div>
            """ : nil
        return Layout.page(
            "Vault", visit,
            """
            <dl class="facts card"><div><dt>Stored</dt><dd>\(Piece.size(stored))</dd></div>\(ratio)
            <div><dt>Points</dt><dd><a href="#by-machine">\(Units.count(usage.points))</a></dd></div><div><dt>Machines</dt><dd><a href="/machines">\(usage.machines)</a></dd></div>
            <div><dt>To be given back</dt><dd><a href="/jobs?kind=reclaim">\(Piece.size(usage.condemnedBytes))</a></dd></div>
            \(space.map { "<div><dt>Room left there</dt><dd>\(Piece.size($0.available))<small>of \(Units.binarySize($0.total))</small></dd></div>" as HTML })
            <div><dt>Condition</dt><dd><a href="/jobs?kind=verify">\(damage)</a></dd></div></dl>
            <section><h2>Growth</h2><p>The vault \(ReportText.words(history.outlook)).</p>\(bars(history, visit))</section>
            \(try care(visit))
            <h2 id="by-machine">Stored by machine</h2>\(table().show(rows, visit))
            """)
    }

    private static func times(_ a: UInt64, _ b: UInt64) -> String {
        let tenths = Int((Double(a) / Double(max(b, 1)) * 10).rounded())
        return "\(tenths / 10).\(tenths % 10) times"
    }

    /// The last looks at it of each of the last days, as bars.
    private static func bars(_ history: UsageHistory, _ visit: Visit) -> HTML {
        var days: [(day: Int, sample: UsageHistory.Sample)] = []
        for sample in history.samples {
            let day = visit.zone.civil(sample.time).date.dayNumber
            if days.last?.day == day { days[days.count - 1].sample = sample } else { days.append((day, sample)) }
        }
        let shown = days.suffix(60)
        guard shown.count > 1 else { return .nothing }
        let most = max(shown.map(\.sample.stored).max() ?? 1, 1)
        let bars: [HTML] = shown.map { day, sample in
            let text = "\(CivilDate(dayNumber: day)): \(Units.binarySize(sample.stored))"
            return
                "<li title=\"\(text)\"><i class=\"h\(max(1, Int(sample.stored * 10 / most)))\"></i><span class=\"unseen\">\(text)</span></li>"
        }
        return """
            <ol class="month">\(bars)</ol><p class="ends"><span>\(CivilDate(dayNumber: shown.first?.day ?? 0).description)</span><span>today</span></p>
            """
    }

    /// When the vault was looked after last.
    private static func care(_ visit: Visit) throws -> HTML {
        let jobs = try visit.core.catalog.jobs(newest: 1_000)
        func last(_ kind: String, _ title: String, _ never: HTML) -> HTML {
            guard let job = jobs.first(where: { $0.kind == kind && $0.state == .done }) else {
                return "<div><dt>\(title)</dt><dd>\(never)</dd></div>"
            }
            return
                "<div><dt>\(title)</dt><dd><a href=\"/jobs/\(job.id.hex)\">\(Piece.time(job.ended ?? job.started, now: visit.now))</a></dd></div>"
        }
        let begin: HTML = visit.may(.manageSettings) ? "<a href=\"/jobs\">begin a check</a>" : "not lately"
        return """
            <section><h2>Care</h2><dl class="facts">\(last("verify", "Checked", begin))\(last("retention", "Retention applied", "not lately"))
            \(last("reclaim", "Room given back", "not lately"))</dl></section>
            """
    }
}
