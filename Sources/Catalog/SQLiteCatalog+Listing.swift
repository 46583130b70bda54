import GRDB
package import Model
package import Vault

/// Lists of points, and their effective times.
///
/// An effective time follows from all points of a machine that came before. What is asked for by id, and the newest, is found
/// without reading them all: from the point backwards to the nearest one before which nothing matters.
extension SQLiteCatalog {
    private static let pointColumns =
        """
        id, machine, incarnation, number, time, arrival, sequence, kind, partial, pinned, hash, previous, state, series,
        bound FROM point
        """
    private static let pointsOfMachine = SQLText("SELECT \(pointColumns) WHERE machine = $1 ORDER BY sequence")
    private static let pointOfID = SQLText("SELECT \(pointColumns) WHERE id = $1")
    /// The bound is the last column.
    private static let newestOfSeries = SQLText(
        "SELECT \(pointColumns) WHERE machine = $1 AND series = $2 ORDER BY sequence DESC")
    private static let before = SQLText(
        """
        SELECT time, arrival, bound FROM point
        WHERE machine = $1 AND series = $2 AND sequence <= $3 AND state <> 2 ORDER BY sequence DESC
        """)
    private static let timesOfMachine = SQLText(
        "SELECT id, time, arrival, series, state FROM point WHERE machine = $1 ORDER BY sequence")
    private static let outsider = SQLText("SELECT 1 FROM point WHERE machine = $1 AND state = 2 LIMIT 1")
    private static let allSeries = SQLText(
        """
        WITH RECURSIVE one (series) AS (
            SELECT MIN(series) FROM point WHERE machine = $1
            UNION ALL
            SELECT (SELECT MIN(p.series) FROM point p WHERE p.machine = $1 AND p.series > one.series) FROM one
            WHERE one.series IS NOT NULL
        ) SELECT series FROM one WHERE series IS NOT NULL
        """)
    private static let allMachines = SQLText(
        """
        WITH RECURSIVE one (machine) AS (
            SELECT MIN(machine) FROM point
            UNION ALL
            SELECT (SELECT MIN(p.machine) FROM point p WHERE p.machine > one.machine) FROM one
            WHERE one.machine IS NOT NULL
        ) SELECT machine FROM one WHERE machine IS NOT NULL
        """)

    /// A row of a list.
    private struct Listed {
        var point: PointSummary
        var sequence: UInt64

        init(_ row: SQLiteRow) throws {
            guard row.integer(3) > 0 else { throw SQLiteFailure.malformed }
            point = PointSummary(
                id: try row.identifier(0), machine: try row.identifier(1), incarnation: try row.identifier(2),
                number: row.number(3), time: row.time(4), arrival: row.time(5), effective: row.time(5),
                kind: try row.value(7), isPartial: row.integer(8) != 0, isPinned: row.integer(9) != 0,
                series: UInt64(bitPattern: row.integer(13)),
                hash: LocatorHash(try row.digest(10)), previous: LocatorHash(try row.digest(11)), references: [],
                condition: try row.value(12), isHeld: false)
            sequence = row.number(6)
        }

        /// The order of lists.
        static func precedes(_ a: Listed, _ b: Listed) -> Bool {
            if a.point.effective != b.point.effective { return a.point.effective < b.point.effective }
            if a.point.machine != b.point.machine { return a.point.machine < b.point.machine }
            return a.sequence < b.sequence
        }
    }

    package func points(_ query: PointQuery, now: Timestamp) throws -> [PointSummary] {
        try read { session in
            var result: [Listed] = []
            if !query.ids.isEmpty {
                result = try points(query.ids, of: query.machine, now, session)
            } else {
                for machine in try query.machine.map({ [$0] }) ?? machines(session) {
                    if let newest = query.newest {
                        result += try newestPoints(max(0, newest), of: machine, now, session)
                    } else {
                        result += try allPoints(of: machine, now, session)
                    }
                }
            }
            result.sort(by: Listed.precedes)
            if let newest = query.newest { result = Array(result.suffix(max(0, newest))) }
            return try result.map { listed in
                var point = listed.point
                point.references = try session.all(
                    "SELECT id FROM point_reference WHERE point = $1 ORDER BY id", .id(point.id)
                ) { BlobID(try $0.digest(0)) }
                return point
            }
        }
    }

    package func places(of points: [PointID]) throws -> [PointID: PointPlace] {
        try read { session in
            var result: [PointID: PointPlace] = [:]
            for id in points {
                result[id] = try session.first("SELECT machine, hash FROM point WHERE id = $1", .id(id)) { row in
                    PointPlace(machine: try row.identifier(0), hash: LocatorHash(try row.digest(1)))
                }
            }
            return result
        }
    }

    package func order(of machine: MachineID?, now: Timestamp) throws -> [PointID] {
        struct Row {
            var id: PointID
            var effective: Timestamp
            var machine: Int
            var sequence: Int
        }
        return try read { session in
            var rows: [Row] = []
            for (number, machine) in try (machine.map { [$0] } ?? machines(session)).enumerated() {
                let times = try times(of: machine, now, session)
                for (index, time) in times.effective.enumerated() {
                    rows.append(Row(id: times.ids[index], effective: time, machine: number, sequence: index))
                }
            }
            rows.sort { a, b in
                if a.effective != b.effective { return a.effective < b.effective }
                return a.machine != b.machine ? a.machine < b.machine : a.sequence < b.sequence
            }
            return rows.map(\.id)
        }
    }

    /// The times of all points of a machine, in the order in which they were accepted.
    private func times(
        of machine: MachineID, _ now: Timestamp, _ session: SQLiteSession
    ) throws -> (ids: [PointID], effective: [Timestamp]) {
        var ids: [PointID] = []
        var chain: [EffectiveTime.Place] = []
        try session.prepare(Self.timesOfMachine).rows([.id(machine)]) { row in
            ids.append(try row.identifier(0))
            chain.append(
                EffectiveTime.Place(
                    time: row.time(1), arrival: row.time(2), series: UInt64(bitPattern: row.integer(3)),
                    isOutside: row.integer(4) == Int64(PointSummary.Condition.outOfChain.rawValue)))
            return true
        }
        return (ids, EffectiveTime.of(machine: chain, now: now))
    }

    private func machines(_ session: SQLiteSession) throws -> [MachineID] {
        try session.all(SQLiteCatalog.allMachines) { try $0.identifier(0) }
    }

    /// All points of a machine, in the order in which they were accepted.
    private func allPoints(of machine: MachineID, _ now: Timestamp, _ session: SQLiteSession) throws -> [Listed] {
        var found = try session.all(SQLiteCatalog.pointsOfMachine, .id(machine)) { try Listed($0) }
        let chain = found.map { listed in
            EffectiveTime.Place(
                time: listed.point.time, arrival: listed.point.arrival, series: listed.point.series,
                isOutside: listed.point.condition == .outOfChain)
        }
        for (index, time) in EffectiveTime.of(machine: chain, now: now).enumerated() {
            found[index].point.effective = time
        }
        return found
    }

    private func points(
        _ ids: [PointID], of machine: MachineID?, _ now: Timestamp, _ session: SQLiteSession
    ) throws -> [Listed] {
        var result: [Listed] = []
        // The times of machines of which everything had to be read.
        var known: [MachineID: [PointID: Timestamp]] = [:]
        for id in Set(ids) {
            guard var listed = try session.first(SQLiteCatalog.pointOfID, .id(id), decode: { try Listed($0) }),
                machine == nil || listed.point.machine == machine
            else { continue }
            let point = listed.point
            if let times = known[point.machine] {
                listed.point.effective = times[id] ?? point.arrival
            } else if point.condition != .outOfChain, point.arrival <= now,
                let time = try effectiveTime(of: listed, now, session)
            {
                listed.point.effective = time
            } else {
                // It takes its time from those beside it, or from more points before it than are worth reading for one.
                let times = try times(of: point.machine, now, session)
                let own = Dictionary(zip(times.ids, times.effective)) { first, _ in first }
                known[point.machine] = own
                listed.point.effective = own[id] ?? point.arrival
            }
            result.append(listed)
        }
        return result
    }

    /// Points before one that are looked at for it alone. In a machine whose clock is wrong nothing may ever begin, and its points
    /// are asked for by the hundred: reading all of them once is less then.
    private static let mostBefore = 128

    /// Of a point inside its machine's history that did not arrive in the time to come; `nil` when too much was before it.
    private func effectiveTime(of listed: Listed, _ now: Timestamp, _ session: SQLiteSession) throws -> Timestamp? {
        let point = listed.point
        var chain: [(time: Timestamp, arrival: Timestamp)] = []
        var isTooLong = false
        try session.prepare(SQLiteCatalog.before).rows([
            .id(point.machine), .integer(Int64(bitPattern: point.series)), .number(listed.sequence),
        ]) { row in
            if let last = chain.last,
                EffectiveTime.begins(time: last.time, arrival: last.arrival, after: row.time(2), now: now)
            {
                return false
            }
            isTooLong = chain.count == Self.mostBefore
            if isTooLong { return false }
            chain.append((row.time(0), row.time(1)))
            return true
        }
        return isTooLong ? nil : EffectiveTime.of(chain.reversed(), now: now).last ?? point.arrival
    }

    /// The newest points of a machine, and perhaps more.
    private func newestPoints(
        _ count: Int, of machine: MachineID, _ now: Timestamp, _ session: SQLiteSession
    ) throws -> [Listed] {
        if count == 0 { return [] }
        if try session.first(SQLiteCatalog.outsider, .id(machine), decode: { _ in true }) == true {
            return try allPoints(of: machine, now, session)
        }
        var result: [Listed] = []
        // Times never decrease in a series: its newest are its last.
        for series in try session.all(SQLiteCatalog.allSeries, .id(machine), decode: { $0.integer(0) }) {
            var chain: [Listed] = []
            try session.prepare(SQLiteCatalog.newestOfSeries).rows([.id(machine), .integer(series)]) { row in
                if chain.count >= count, let last = chain.last?.point,
                    EffectiveTime.begins(time: last.time, arrival: last.arrival, after: row.time(14), now: now)
                {
                    return false
                }
                chain.append(try Listed(row))
                return true
            }
            chain.reverse()
            let times = EffectiveTime.of(chain.map { ($0.point.time, $0.point.arrival) }, now: now)
            for (index, time) in times.enumerated() { chain[index].point.effective = time }
            result += chain.suffix(count)
        }
        return result
    }
}
