package import Model

/// Jobs and their logs.
extension SQLiteServerCatalog {
    private static let columns: SQLText =
        "SELECT id, kind, state, owner, parameters, started, ended, done, total, result, failure FROM job WHERE id = $1"
    private static let newest: SQLText =
        """
        SELECT id, kind, state, owner, parameters, started, ended, done, total, result, failure FROM job
        ORDER BY started DESC, id LIMIT $1
        """

    private static func decode(_ row: SQLiteRow) throws -> JobRecord {
        var job = JobRecord(
            id: try row.identifier(0), kind: row.text(1), owner: row.text(3), parameters: row.bytes(4),
            started: row.time(5))
        job.state = try row.value(2)
        job.ended = row.isNull(6) ? nil : row.time(6)
        job.done = row.number(7)
        job.total = row.number(8)
        job.result = row.isNull(9) ? nil : row.bytes(9)
        job.failure = row.isNull(10) ? nil : row.bytes(10)
        return job
    }

    package func start(_ job: JobRecord) throws -> Bool {
        try write { session in
            let isRunning = try session.first(
                "SELECT 1 FROM job WHERE kind = $1 AND state = 0", .text(job.kind)
            ) { _ in true }
            if isRunning == true { return false }
            try session.run(
                """
                INSERT INTO job (id, kind, state, owner, parameters, started, done, total)
                VALUES ($1, $2, 0, $3, $4, $5, 0, 0)
                """, .id(job.id), .text(job.kind), .text(job.owner), .bytes(job.parameters), .time(job.started))
            return true
        }
    }

    package func job(_ id: JobID) throws -> JobRecord? {
        try read { try $0.first(Self.columns, .id(id), decode: Self.decode) }
    }

    package func jobs(newest: Int) throws -> [JobRecord] {
        try read { try $0.all(Self.newest, .number(newest), decode: Self.decode) }
    }

    package func setProgress(_ id: JobID, done: UInt64, total: UInt64) throws {
        try write {
            _ = try $0.run(
                "UPDATE job SET done = $2, total = $3 WHERE id = $1 AND state = 0", .id(id), .number(done),
                .number(total))
        }
    }

    package func end(
        _ id: JobID, _ state: JobRecord.State, result: [UInt8]?, failure: [UInt8]?, at time: Timestamp
    ) throws {
        try write {
            _ = try $0.run(
                "UPDATE job SET state = $2, result = $3, failure = $4, ended = $5 WHERE id = $1 AND state = 0",
                .id(id), .number(Int(state.rawValue)), result.map { .bytes($0) } ?? .null,
                failure.map { .bytes($0) } ?? .null, .time(time))
        }
    }

    package func interruptJobs(at time: Timestamp) throws -> Int {
        try write { try $0.run("UPDATE job SET state = 4, ended = $1 WHERE state = 0", .time(time)) }
    }

    package func append(_ text: String, to job: JobID, at time: Timestamp) throws {
        try write {
            _ = try $0.run(
                """
                INSERT INTO job_line (job, number, time, body)
                SELECT $1, COALESCE(MAX(number), 0) + 1, $2, $3 FROM job_line WHERE job = $1
                """, .id(job), .time(time), .text(text))
        }
    }

    package func log(of job: JobID, after number: Int64, limit: Int) throws -> [JobLine] {
        try read {
            try $0.all(
                "SELECT number, time, body FROM job_line WHERE job = $1 AND number > $2 ORDER BY number LIMIT $3",
                .id(job), .integer(number), .number(limit)
            ) { JobLine(number: $0.integer(0), time: $0.time(1), text: $0.text(2)) }
        }
    }

    package func forgetJobs(keeping count: Int) throws {
        try write {
            try $0.run(
                """
                DELETE FROM job WHERE state <> 0
                    AND id NOT IN (SELECT id FROM job ORDER BY started DESC, id LIMIT $1)
                """, .number(count))
            _ = try $0.run("DELETE FROM job_line WHERE job NOT IN (SELECT id FROM job)")
        }
    }
}
