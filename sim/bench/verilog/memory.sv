// DRAM behind an AXI4 port: bursts in order, a fixed latency, at most one beat a cycle each way,
// random stalls, injected errors, and a referee for the rules that the master must keep.
module bench_memory #(
    parameter int ADDRESS_BITS = 40,
    parameter int BEAT_BYTES = 16,
    parameter int DRAM_BYTES = 1 << 20,
    parameter int OUTSTANDING = 16
) (
    input  logic clk,
    input  logic rst,
    input  logic [63:0] cycle,

    input  logic [ADDRESS_BITS-1:0] araddr,
    input  logic [7:0] arlen,
    input  logic [2:0] arsize,
    input  logic [1:0] arburst,
    input  logic arvalid,
    output logic arready,
    output logic [8*BEAT_BYTES-1:0] rdata,
    output logic [1:0] rresp,
    output logic rlast,
    output logic rvalid,
    input  logic rready,

    input  logic [ADDRESS_BITS-1:0] awaddr,
    input  logic [7:0] awlen,
    input  logic [2:0] awsize,
    input  logic [1:0] awburst,
    input  logic awvalid,
    output logic awready,
    input  logic [8*BEAT_BYTES-1:0] wdata,
    input  logic [BEAT_BYTES-1:0] wstrb,
    input  logic wlast,
    input  logic wvalid,
    output logic wready,
    output logic [1:0] bresp,
    output logic bvalid,
    input  logic bready,

    // A beat, an address or a response went through in this cycle.
    output logic progress
);
    localparam int SHIFT = $clog2(BEAT_BYTES);
    localparam int BEATS = DRAM_BYTES / BEAT_BYTES;
    localparam int INDEX = $clog2(BEATS);
    localparam int SLOT = $clog2(OUTSTANDING);
    localparam logic [1:0] OKAY = 0, SLVERR = 2, DECERR = 3;
    localparam int BITS = 8 * BEAT_BYTES;

    typedef struct packed {
        logic [ADDRESS_BITS-1:0] address;
        logic [7:0] length;
        logic [63:0] due;
    } burst_t;

    // Byte 0 of a beat is its most significant one here, which is the order of $fread; swapped on the way in and out.
    bit [BITS-1:0] memory [BEATS];

    function automatic logic [BITS-1:0] swapped(input logic [BITS-1:0] beat);
        return {<<8{beat}};
    endfunction

    function automatic logic inside_dram(input logic [ADDRESS_BITS-1:0] address);
        return 64'(address) < 64'(DRAM_BYTES);
    endfunction

    function automatic logic [INDEX-1:0] index_of(input logic [ADDRESS_BITS-1:0] address);
        return address[SHIFT +: INDEX];
    endfunction

    // ---- options and files -------------------------------------------------------------------

    int latency, stall, seed;
    longint read_error, write_error, dump_start, dump_bytes;
    string memory_name;
    int rules, image, got;
    initial begin
        latency = 0;
        stall = 0;
        seed = 1;
        read_error = -1;
        write_error = -1;
        void'($value$plusargs("latency=%d", latency));
        void'($value$plusargs("stall=%d", stall));
        void'($value$plusargs("seed=%d", seed));
        void'($value$plusargs("read_error=%d", read_error));
        void'($value$plusargs("write_error=%d", write_error));
        rules = $fopen("rules.txt", "w");
        if ($value$plusargs("memory=%s", memory_name)) begin
            image = $fopen(memory_name, "rb");
            if (image == 0) $fatal(1, "bench: cannot open the memory image %s", memory_name);
            got = $fread(memory, image);
            $fclose(image);
        end
    end

    task automatic broken(input string rule);
        violations <= violations + 1;
        if (violations < 100) $fwrite(rules, "%0d %s\n", cycle, rule);
    endtask
    int violations;

    // ---- random stalls: xorshift64, so that a seed means the same everywhere --------------------

    logic [63:0] random;
    logic stall_ar, stall_r, stall_aw, stall_w, stall_b;
    function automatic logic [63:0] shuffled(input logic [63:0] x);
        x = x ^ (x << 13);
        x = x ^ (x >> 7);
        return x ^ (x << 17);
    endfunction
    function automatic logic unlucky(input logic [9:0] draw);
        return int'(draw) * 100 < stall * 1024;
    endfunction
    always_ff @(posedge clk) begin
        if (rst) random <= {32'h9e3779b9, seed};
        else if (stall != 0) random <= shuffled(random);
        stall_ar <= unlucky(random[9:0]);
        stall_r  <= unlucky(random[21:12]);
        stall_aw <= unlucky(random[33:24]);
        stall_w  <= unlucky(random[45:36]);
        stall_b  <= unlucky(random[57:48]);
    end

    // ---- reads --------------------------------------------------------------------------------

    burst_t reads [OUTSTANDING];
    logic [SLOT:0] read_head, read_tail;
    logic [7:0] read_beat;
    wire burst_t read = reads[read_head[SLOT-1:0]];
    wire logic [ADDRESS_BITS-1:0] read_address = read.address + ADDRESS_BITS'(read_beat) * ADDRESS_BITS'(BEAT_BYTES);
    wire logic read_waiting = read_head != read_tail && cycle >= read.due;
    wire logic read_full = read_tail - read_head == (SLOT + 1)'(OUTSTANDING);
    assign arready = !rst && !read_full && !stall_ar;

    always_ff @(posedge clk) begin
        if (rst) begin
            read_head <= 0;
            read_tail <= 0;
            read_beat <= 0;
            rvalid <= 0;
        end else begin
            if (arvalid && arready) begin
                reads[read_tail[SLOT-1:0]] <= '{address: araddr, length: arlen, due: cycle + 64'(latency)};
                read_tail <= read_tail + 1;
            end
            if (!rvalid || rready) begin
                rvalid <= read_waiting && !stall_r;
                if (read_waiting && !stall_r) begin
                    rdata <= inside_dram(read_address) ? swapped(memory[index_of(read_address)]) : '0;
                    rresp <= !inside_dram(read_address) ? DECERR
                        : 64'(read_address >> SHIFT) == 64'(read_error) >> SHIFT && read_error >= 0 ? SLVERR : OKAY;
                    rlast <= read_beat == read.length;
                    read_beat <= read_beat == read.length ? 0 : read_beat + 1;
                    if (read_beat == read.length) read_head <= read_head + 1;
                end
            end
        end
    end

    // ---- writes: a beat is taken once its address is known ---------------------------------------

    burst_t writes [OUTSTANDING];
    logic [SLOT:0] write_head, write_tail;
    logic [7:0] write_beat;
    logic [1:0] write_response;
    wire burst_t write = writes[write_head[SLOT-1:0]];
    wire logic [ADDRESS_BITS-1:0] write_address = write.address + ADDRESS_BITS'(write_beat) * ADDRESS_BITS'(BEAT_BYTES);
    wire logic write_full = write_tail - write_head == (SLOT + 1)'(OUTSTANDING);
    wire logic [1:0] beat_response = !inside_dram(write_address) ? DECERR
        : 64'(write_address >> SHIFT) == 64'(write_error) >> SHIFT && write_error >= 0 ? SLVERR : OKAY;
    wire logic [1:0] worst_response = beat_response > write_response ? beat_response : write_response;

    typedef struct packed {
        logic [1:0] response;
        logic [63:0] due;
    } answer_t;
    answer_t answers [OUTSTANDING];
    logic [SLOT:0] answer_head, answer_tail;
    wire answer_t answer = answers[answer_head[SLOT-1:0]];
    wire logic answer_waiting = answer_head != answer_tail && cycle >= answer.due;
    wire logic answer_full = answer_tail - answer_head == (SLOT + 1)'(OUTSTANDING);
    assign awready = !rst && !write_full && !stall_aw;
    assign wready = !rst && write_head != write_tail && !answer_full && !stall_w;

    logic [BITS-1:0] merged;
    always_comb begin
        merged = swapped(memory[index_of(write_address)]);
        for (int i = 0; i < BEAT_BYTES; i++) if (wstrb[i]) merged[8*i +: 8] = wdata[8*i +: 8];
    end

    always_ff @(posedge clk) begin
        if (rst) begin
            write_head <= 0;
            write_tail <= 0;
            write_beat <= 0;
            write_response <= OKAY;
            answer_head <= 0;
            answer_tail <= 0;
            bvalid <= 0;
        end else begin
            if (awvalid && awready) begin
                writes[write_tail[SLOT-1:0]] <= '{address: awaddr, length: awlen, due: 0};
                write_tail <= write_tail + 1;
            end
            if (wvalid && wready) begin
                if (inside_dram(write_address)) memory[index_of(write_address)] <= swapped(merged);
                write_beat <= write_beat == write.length ? 0 : write_beat + 1;
                write_response <= write_beat == write.length ? OKAY : worst_response;
                if (write_beat == write.length) begin
                    write_head <= write_head + 1;
                    answers[answer_tail[SLOT-1:0]] <= '{response: worst_response, due: cycle + 64'(latency)};
                    answer_tail <= answer_tail + 1;
                end
            end
            if (!bvalid || bready) begin
                bvalid <= answer_waiting && !stall_b;
                if (answer_waiting && !stall_b) begin
                    bresp <= answer.response;
                    answer_head <= answer_head + 1;
                end
            end
        end
    end

    // ---- rules of the protocol --------------------------------------------------------------------

    function automatic logic crosses_page(input logic [ADDRESS_BITS-1:0] address, input logic [7:0] length);
        return (64'(address) >> 12) != ((64'(address) + (64'(length) + 1) * 64'(BEAT_BYTES) - 1) >> 12);
    endfunction
    logic ar_held, aw_held, w_held;
    logic [ADDRESS_BITS+7:0] ar_before, aw_before;
    logic [BITS+BEAT_BYTES:0] w_before;
    always_ff @(posedge clk) begin
        ar_held <= !rst && arvalid && !arready;
        aw_held <= !rst && awvalid && !awready;
        w_held <= !rst && wvalid && !wready;
        ar_before <= {araddr, arlen};
        aw_before <= {awaddr, awlen};
        w_before <= {wdata, wstrb, wlast};
        if (!rst) begin
            if (arvalid && arready) begin
                if (crosses_page(araddr, arlen)) broken("a read burst crosses a 4 KiB boundary");
                if (32'(arsize) != SHIFT) broken("arsize is not the size of a beat");
                if (arburst != 1) broken("arburst is not INCR");
                if (araddr[SHIFT-1:0] != 0) broken("araddr is not aligned to a beat");
            end
            if (awvalid && awready) begin
                if (crosses_page(awaddr, awlen)) broken("a write burst crosses a 4 KiB boundary");
                if (32'(awsize) != SHIFT) broken("awsize is not the size of a beat");
                if (awburst != 1) broken("awburst is not INCR");
                if (awaddr[SHIFT-1:0] != 0) broken("awaddr is not aligned to a beat");
            end
            if (wvalid && wready && wlast != (write_beat == write.length)) broken("wlast does not agree with awlen");
            if (ar_held && (!arvalid || {araddr, arlen} != ar_before)) broken("a read address changed before it was taken");
            if (aw_held && (!awvalid || {awaddr, awlen} != aw_before)) broken("a write address changed before it was taken");
            if (w_held && (!wvalid || {wdata, wstrb, wlast} != w_before)) broken("a write beat changed before it was taken");
        end
    end

    // ---- counters -----------------------------------------------------------------------------------

    longint count_ar, count_r, count_aw, count_w, count_b;
    longint stalled_ar, stalled_r, stalled_aw, stalled_w, stalled_b, held_r, held_b;
    assign progress = !rst && (arvalid && arready || rvalid && rready || awvalid && awready || wvalid && wready || bvalid && bready);
    always_ff @(posedge clk) if (!rst) begin
        if (arvalid) if (arready) count_ar <= count_ar + 1; else stalled_ar <= stalled_ar + 1;
        if (rvalid) if (rready) count_r <= count_r + 1; else stalled_r <= stalled_r + 1;
        if (awvalid) if (awready) count_aw <= count_aw + 1; else stalled_aw <= stalled_aw + 1;
        if (wvalid) if (wready) count_w <= count_w + 1; else stalled_w <= stalled_w + 1;
        if (bvalid) if (bready) count_b <= count_b + 1; else stalled_b <= stalled_b + 1;
        if (read_waiting && stall_r && (!rvalid || rready)) held_r <= held_r + 1;
        if (answer_waiting && stall_b && (!bvalid || bready)) held_b <= held_b + 1;
    end

    task automatic report(input int file);
        $fwrite(file, "loaded %0d\nviolations %0d\n", got, violations);
        $fwrite(file, "count_ar %0d\ncount_r %0d\ncount_aw %0d\ncount_w %0d\ncount_b %0d\n", count_ar, count_r, count_aw, count_w, count_b);
        $fwrite(file, "stalled_ar %0d\nstalled_r %0d\nstalled_aw %0d\nstalled_w %0d\nstalled_b %0d\n",
            stalled_ar, stalled_r, stalled_aw, stalled_w, stalled_b);
        $fwrite(file, "held_r %0d\nheld_b %0d\n", held_r, held_b);
    endtask

    // The region is dumped in whole beats; the runner cuts it.
    int dump;
    final begin
        dump_start = 0;
        dump_bytes = 0;
        void'($value$plusargs("dump_start=%d", dump_start));
        void'($value$plusargs("dump_bytes=%d", dump_bytes));
        dump = $fopen("output.bin", "wb");
        for (longint at = dump_start; at < dump_start + dump_bytes; at += longint'(BEAT_BYTES))
            $fwrite(dump, "%u", swapped(memory[index_of(ADDRESS_BITS'(at))]));
        $fclose(dump);
        $fclose(rules);
    end
endmodule
