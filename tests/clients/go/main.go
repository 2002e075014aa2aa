// The README's story with the client that openapi-generator makes for Go.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"

	"story/allocation"
)

func main() {
	url, sku := os.Args[1], os.Args[2]
	older, newer, order := "older-"+sku, "newer-"+sku, "order-"+sku
	ctx := context.Background()
	configuration := allocation.NewConfiguration()
	configuration.Servers = allocation.ServerConfigurations{{URL: url}}
	client := allocation.NewAPIClient(configuration)

	record := func(ref string, eta string) {
		batch := allocation.NewCreateBatch(ref, sku, 10)
		batch.SetEta(eta)
		_, _, err := client.BatchesAPI.CreateBatch(ctx).CreateBatch(*batch).IdempotencyKey("key-" + ref).Execute()
		check(err)
	}
	record(older, "2030-01-01")
	record(newer, "2030-01-02")

	// The generated constructor sends `if_unavailable` with its default.
	line := allocation.NewAllocate(order, sku, 10)
	allocated, _, err := client.AllocationsAPI.Allocate(ctx).Allocate(*line).Execute()
	check(err)
	fmt.Println("allocated", allocated.AllocationState.GetBatchRef() == older)

	changes := allocation.NewBatchChanges()
	changes.SetQty(5)
	changes.SetReallocate(false)
	changed, _, err := client.BatchesAPI.ChangeBatch(ctx, older).BatchChanges(*changes).Execute()
	check(err)
	fmt.Println("moved", changed.Moved[0].GetToBatchRef() == newer)

	large := allocation.NewAllocate("large-"+sku, sku, 50)
	preview, _, err := client.AllocationsAPI.Allocate(ctx).DryRun(true).Allocate(*large).Execute()
	check(err)
	fmt.Println("reason", preview.AllocationPreview.Reason)
	fmt.Println("explained", preview.AllocationPreview.Explanation != "")

	large.SetIfUnavailable(allocation.REJECT)
	_, _, err = client.AllocationsAPI.Allocate(ctx).Allocate(*large).Execute()
	var refused *allocation.GenericOpenAPIError
	if !errors.As(err, &refused) {
		log.Fatalf("not refused: %v", err)
	}
	fmt.Println("code", refused.Model().(allocation.Problem).Code)

	_, err = client.AllocationsAPI.CancelAllocation(ctx, order, sku).Execute()
	check(err)
	_, gone, _ := client.AllocationsAPI.GetAllocations(ctx, order).Execute()
	fmt.Println("cancelled", gone.StatusCode == http.StatusNotFound)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
