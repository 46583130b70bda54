import Catalog
import Client
import Model
import Server
import Vault

/// What the vault holds, and whether it is whole.
enum VaultPage {
    static let all: [Page] = [.get("/vault", "What the vault holds.", .right(.seeStates), show)]

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        guard visit.seesAllMachines else {
            throw HoldfastError(.denied, "The vault is shown to those who see all machines.")
        }
        let (usage, space) = try visit.core.usage()
        let machines = try visit.machines()
        let overviews = machines.map { visit.core.overview(of: $0) }
        let protected = overviews.reduce(UInt64(0)) { $0 + ($1.report?.bytes ?? 0) }
        let stored = usage.data.bytes + usage.meta.bytes + usage.records.bytes
        let damage: HTML =
            usage.damaged + usage.incomplete == 0
            ? Piece.state("good", "No damage is known")
            : Piece.state("bad", "\(usage.damaged) damaged, \(usage.incomplete) with something missing")
        // What a machine has stored stands under its id.
        let writers = Dictionary(machines.map { (WriterID(high: $0.id.high, low: $0.id.low), $0) }) { first, _ in first
        }
        let rows: [HTML] = usage.bytesByOrigin.sorted { $0.value > $1.value }.prefix(100).map { writer, bytes in
            let machine = writers[writer]
            let name: HTML =
                machine.map { "<a href=\"/machines/\($0.id.hex)\">\($0.name)</a>" } ?? "(another writer)"
            return """
                <tr><th scope="row">\(name)</th><td class="number">\(Piece.size(bytes))</td>
                <td><meter min="0" max="\(max(stored, 1))" value="\(bytes)" aria-label="Its part of the vault"></meter></td></tr>
                """
        }
        let ratio: HTML? =
            stored > 0 && protected > 0
            ? "<div><dt>Newest state of all machines</dt><dd>\(Piece.size(protected))</dd></div>" : nil
        return Layout.page(
            "Vault", visit,
            """
            <dl class="facts card"><div><dt>Stored</dt><dd>\(Piece.size(stored))</dd></div>\(ratio)
            <div><dt>Points</dt><dd>\(usage.points)</dd></div><div><dt>Machines</dt><dd>\(usage.machines)</dd></div>
            <div><dt>To be given back</dt><dd>\(Piece.size(usage.condemnedBytes))</dd></div>
            \(space.map { "<div><dt>Room left there</dt><dd>\(Piece.size($0.available))</dd></div>" as HTML })
            <div><dt>Condition</dt><dd>\(damage)</dd></div></dl>
            <table><caption>Stored by machine</caption><thead><tr><th>Machine</th><th class="number">Stored</th><th>Part</th></tr></thead>
            <tbody>\(rows)</tbody></table>
            """)
    }
}
