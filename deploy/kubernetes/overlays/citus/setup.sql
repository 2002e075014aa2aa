-- Nodes of a Citus cluster and settings of the service's role. Run it with psql as a superuser on the coordinator, before
-- `allocation migrate` and after each change of the nodes; it can be repeated. Variables: role, coordinator (the name by which
-- the other nodes reach it), workers (names, separated by commas; empty for a cluster of one node), time_zone
-- (ALLOCATION_TIME_ZONE).
\set ON_ERROR_STOP on

SELECT citus_set_coordinator_host(:'coordinator', 5432);
SELECT format('SELECT citus_add_node(%L, 5432)', worker) FROM unnest(string_to_array(:'workers', ',')) AS worker
\gexec
-- A coordinator that was named as above gets no cells, so a cluster of one node would have no place for them.
SELECT citus_set_node_property(:'coordinator', 5432, 'shouldhaveshards', true) WHERE :'workers' = '';

-- Citus sends these to the other nodes, and to nodes that are added later.
-- `allocation migrate` creates the schemas of the cells; with this they are distributed.
ALTER ROLE :"role" SET citus.enable_schema_based_sharding = on;
-- Without it the driver takes seconds to read the types of arrays.
ALTER ROLE :"role" SET citus.override_table_visibility = off;
-- What a process sets for its sessions is valid on the node that it is connected to. On the other nodes the role's settings are.
ALTER ROLE :"role" SET lock_timeout = '3s';
ALTER ROLE :"role" SET timezone = :'time_zone';
ALTER ROLE :"role" SET enable_seqscan = off;
ALTER ROLE :"role" SET enable_bitmapscan = off;
ALTER ROLE :"role" SET jit = off;
-- No transaction_timeout and no statement_timeout: on other nodes they would end migrations and large commands, for which a
-- process extends its own. Here a transaction ends when the connection of the node that it came from ends.
